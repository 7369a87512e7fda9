//! Which work queues there are: `/sys/bus/dsa/devices`, as the Linux driver `idxd` fills it
//! (`Documentation/ABI/stable/sysfs-driver-dma-idxd`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;

/// Names the folder that stands for `/sys/bus/dsa/devices`, here as with DPDK's driver.
pub const SYSFS_VARIABLE: &str = "DSA_SYSFS_PATH";
/// Names the folder that stands for `/dev/dsa`, here as with DPDK's driver.
pub const DEV_VARIABLE: &str = "DSA_DEV_PATH";

/// Who may submit to a queue, and with which instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One process, with MOVDIR64B; it counts the slots by itself.
    Dedicated,
    /// Anybody, with ENQCMD; the device says when it is full.
    Shared,
}

impl Mode {
    /// As sysfs has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dedicated => "dedicated",
            Self::Shared => "shared",
        }
    }
}

/// A queue that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueInfo {
    /// `wqX.Y`: queue Y of device X.
    pub name: String,
    /// `dsaX`.
    pub device: String,
    /// Its character device.
    pub path: PathBuf,
    /// Dedicated or shared.
    pub mode: Mode,
    /// Its slots.
    pub size: u32,
    /// Most descriptors in a batch. 1: no batches.
    pub max_batch: u32,
    /// Most bytes of one descriptor.
    pub max_transfer: u64,
    /// The device's NUMA node, if it has one.
    pub numa_node: Option<u32>,
}

/// Where devices are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The folder of `dsaX` and `wqX.Y` with their attributes.
    pub sysfs: PathBuf,
    /// The folder of the character devices `wqX.Y`.
    pub dev: PathBuf,
}

impl Default for Tree {
    /// The system's own.
    fn default() -> Self {
        Self {
            sysfs: "/sys/bus/dsa/devices".into(),
            dev: "/dev/dsa".into(),
        }
    }
}

impl Tree {
    /// The system's own, or what [`SYSFS_VARIABLE`] and [`DEV_VARIABLE`] name.
    pub fn from_environment() -> Self {
        let system = Self::default();
        let named = |variable, otherwise| std::env::var_os(variable).map_or(otherwise, Into::into);
        Self {
            sysfs: named(SYSFS_VARIABLE, system.sysfs),
            dev: named(DEV_VARIABLE, system.dev),
        }
    }

    /// All queues that user space may use, by name: enabled, of type user, on a device with PASID.
    ///
    /// # Errors
    /// [`Error::NoDevices`] or [`Error::Sysfs`].
    pub fn queues(&self) -> Result<Vec<QueueInfo>, Error> {
        let entries = match fs::read_dir(&self.sysfs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoDevices {
                    devices: self.sysfs.clone(),
                });
            }
            Err(error) => return Err(unreadable(&self.sysfs, &error)),
        };
        let mut queues = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&self.sysfs, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if numbers(&name).is_none() {
                continue;
            }
            match self.queue(&name) {
                Ok(queue) => queues.push(queue),
                Err(Error::NotEnabled { .. } | Error::NotUser { .. } | Error::NoPasid { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        queues.sort_by_key(|queue| numbers(&queue.name));
        Ok(queues)
    }

    /// A queue for each of `wanted` workers: those named, or else any, those on `numa_node` first.
    ///
    /// # Errors
    /// When there are fewer than `wanted`, or one that is named cannot be used.
    pub fn choose(
        &self,
        named: &[String],
        wanted: usize,
        numa_node: Option<u32>,
    ) -> Result<Vec<QueueInfo>, Error> {
        let mut queues = if named.is_empty() {
            self.queues()?
        } else {
            let named = named.iter().map(|name| self.queue(name));
            named.collect::<Result<Vec<_>, _>>()?
        };
        if queues.is_empty() {
            return Err(Error::NoQueues {
                devices: self.sysfs.clone(),
                wanted,
            });
        }
        if queues.len() < wanted {
            let found = queues.len();
            return Err(Error::TooFewQueues { wanted, found });
        }
        if named.is_empty() {
            queues.sort_by_key(|queue| {
                let far = numa_node.is_some() && queue.numa_node != numa_node;
                (far, queue.mode == Mode::Shared)
            });
        }
        queues.truncate(wanted);
        Ok(queues)
    }

    /// One queue by its name.
    ///
    /// # Errors
    /// When it is not there, or not for us: [`Error::NotEnabled`], [`Error::NotUser`], …
    pub fn queue(&self, name: &str) -> Result<QueueInfo, Error> {
        let folder = self.sysfs.join(name);
        let Some((device, _)) = numbers(name).filter(|_| folder.is_dir()) else {
            return Err(Error::NoSuchQueue {
                name: name.into(),
                devices: self.sysfs.clone(),
            });
        };
        let name = name.to_owned();
        let device = format!("dsa{device}");
        let kind = text(&folder.join("type"))?;
        if kind != "user" {
            return Err(Error::NotUser { name, device, kind });
        }
        let state = text(&folder.join("state"))?;
        if state != "enabled" {
            return Err(Error::NotEnabled {
                name,
                device,
                state,
            });
        }
        let of_device = self.sysfs.join(&device);
        if number(&of_device.join("pasid_enabled"))? == 0 {
            return Err(Error::NoPasid { device });
        }
        let mode = folder.join("mode");
        let mode = match text(&mode)?.as_str() {
            "dedicated" => Mode::Dedicated,
            "shared" => Mode::Shared,
            other => {
                return Err(Error::Sysfs {
                    path: mode,
                    reason: format!("{other:?} is neither dedicated nor shared"),
                });
            }
        };
        let size = folder.join("size");
        let slots = number(&size)?;
        if !(1..=0xffff).contains(&slots) {
            return Err(Error::Sysfs {
                path: size,
                reason: format!("a queue of {slots} slots"),
            });
        }
        let node = text(&of_device.join("numa_node"))?;
        Ok(QueueInfo {
            path: self.dev.join(&name),
            mode,
            size: slots as u32,
            max_batch: number(&folder.join("max_batch_size"))?.min(u64::from(u32::MAX)) as u32,
            max_transfer: number(&folder.join("max_transfer_size"))?,
            // -1 where there is but one node.
            numa_node: node.parse().ok(),
            name,
            device,
        })
    }
}

/// X and Y of `wqX.Y`.
fn numbers(name: &str) -> Option<(u32, u32)> {
    let (device, queue) = name.strip_prefix("wq")?.split_once('.')?;
    Some((device.parse().ok()?, queue.parse().ok()?))
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::Sysfs {
        path: path.into(),
        reason: error.to_string(),
    }
}

fn text(path: &Path) -> Result<String, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn number(path: &Path) -> Result<u64, Error> {
    let text = text(path)?;
    text.parse().map_err(|_| Error::Sysfs {
        path: path.into(),
        reason: format!("{text:?} is no number"),
    })
}
