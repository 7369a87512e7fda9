//! The port: a packet socket, its posted frames, its waiting packets and its counters.

use std::io;

use dataplane::port::{FramePool, Piece, Port, PortCaps, PortStats, RxBurst, TxError, TxHeader};

use crate::error::Error;
use crate::rx::{Received, RxRing};
use crate::socket::PacketSocket;
use crate::tx::{Flushed, MAX_PIECES, TxRing};

/// Flushes in a row without progress after which the interface is looked at: is it still up, and
/// does it still cut super-segments? Again after twice as many, and so on: a look takes the
/// kernel's one lock for network configuration, and a slow device makes packets wait all the time.
const STALLS_BEFORE_LOOK: u32 = 64;

/// Flushes without progress after which the oldest packet is given up. Reached only if the kernel
/// refuses a packet for a reason that it calls passing and that does not pass.
const STALLS_BEFORE_LOSS: u32 = 1 << 20;

/// One queue of a Linux network interface as a [`Port`]. See the crate's documentation.
///
/// `P` is the pool that frames to receive into come from. In production they are DPDK's mbufs.
///
/// Super-segments count as one packet in the statistics, both ways.
#[derive(Debug)]
pub struct PacketPort<P: FramePool> {
    socket: PacketSocket,
    pool: P,
    caps: PortCaps,
    rx: RxRing<P::Frame>,
    tx: TxRing<P::Frame>,
    stats: PortStats,
    /// Whether the interface was up with carrier when it was last looked at.
    link: bool,
    /// Whether packets may have been lost for want of frames since the counters were last read.
    starved: bool,
    /// Flushes in a row that made no progress.
    stalls: u32,
}

impl<P: FramePool> PacketPort<P> {
    /// A port over `socket`, to be made on the thread of the worker that owns it. Frames are posted
    /// by the first receive burst.
    ///
    /// # Errors
    /// [`Error::NoFrames`] when `pool` lacks a frame of either class.
    pub fn new(socket: PacketSocket, mut pool: P) -> Result<Self, Error> {
        let options = socket.options();
        let rx = RxRing::new(options.receive_batch, options.largest_packet, &mut pool).ok_or_else(
            || Error::NoFrames {
                interface: socket.interface().to_owned(),
            },
        )?;
        let caps = PortCaps {
            name: format!("packet:{}", socket.interface()),
            mac: socket.link().mac,
            mtu: socket.link().mtu.min(u32::from(u16::MAX)) as u16,
            tx_tcp_checksum: true,
            tso_v4: Some(socket.largest_super_segment()),
            max_pieces: MAX_PIECES,
            max_burst: options.receive_batch,
        };
        Ok(Self {
            tx: TxRing::new(options.send_slots, options.send_batch),
            link: socket.link_running(),
            socket,
            pool,
            caps,
            rx,
            stats: PortStats::default(),
            starved: false,
            stalls: 0,
        })
    }

    /// The socket, e.g. to wait for packets with poll(2) when there is nothing else to do.
    pub fn socket(&self) -> &PacketSocket {
        &self.socket
    }

    /// Counts a flush that made no progress, and now and then finds out whether there is more
    /// behind it than a full queue. Without carrier packets are lost, as they would be in a NIC.
    fn stalled(&mut self, refused: bool) {
        self.stalls += 1;
        if self.stalls < STALLS_BEFORE_LOOK || !self.stalls.is_power_of_two() {
            return;
        }
        self.link = self.socket.link_running();
        if !self.link {
            self.tx.lose_all(&mut self.stats);
            self.stalls = 0;
            return;
        }
        if refused && let Err(error) = self.socket.choose_path_to_device() {
            log::debug!("{error}");
        }
        if self.stalls >= STALLS_BEFORE_LOSS {
            let error = io::Error::from_raw_os_error(libc::ENOBUFS);
            self.tx.lose_first(&mut self.stats, &error);
            self.stalls = 0;
        }
    }
}

impl<P: FramePool> Port for PacketPort<P> {
    type Frame = P::Frame;

    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    /// As last seen by [`Port::stats`], or by a burst or flush that the kernel refused.
    fn link_up(&self) -> bool {
        self.link
    }

    fn rx_burst(&mut self, burst: &mut RxBurst<P::Frame>) -> usize {
        let (socket, pool) = (&self.socket, &mut self.pool);
        match self.rx.receive(socket, pool, burst, &mut self.stats) {
            Received::Packets { count } => count,
            Received::NoFrames => {
                self.starved = true;
                0
            }
            Received::LinkDown => {
                self.link = false;
                0
            }
        }
    }

    fn tx_room(&mut self) -> usize {
        self.tx.room()
    }

    fn tx_push<'f>(
        &mut self,
        header: &TxHeader<'_>,
        payload: impl Iterator<Item = Piece<'f, P::Frame>>,
    ) -> Result<(), TxError>
    where
        P::Frame: 'f,
    {
        self.tx.push(header, payload)
    }

    fn tx_flush(&mut self) {
        if self.tx.is_empty() {
            return;
        }
        match self.tx.flush(&self.socket, &mut self.stats) {
            Flushed::All | Flushed::Waiting { progress: true, .. } => self.stalls = 0,
            Flushed::Waiting { refused, .. } => self.stalled(refused),
            Flushed::LinkDown => {
                self.link = false;
                self.stalls = 0;
            }
        }
    }

    /// Costs two system calls, and samples the link.
    fn stats(&mut self) -> PortStats {
        self.link = self.socket.link_running();
        let drops = self.socket.take_drops();
        if std::mem::take(&mut self.starved) {
            self.stats.rx_no_frame += drops;
        } else {
            self.stats.rx_missed += drops;
        }
        self.stats
    }

    fn tx_waits(&self) -> bool {
        !self.tx.is_empty()
    }

    fn frames_held(&self) -> usize {
        self.rx.frames_held() + self.tx.frames_held()
    }
}
