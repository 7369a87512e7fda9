//! Receive side scaling: the device hashes the 4-tuple of a packet and looks its queue up in a
//! table. Read back from the device after it started, because drivers choose key and table.

use dpdk_sys as sys;

use crate::error::{DpdkError, Errno};

/// TCP over IPv4 and IPv6: addresses and ports.
const TCP: u64 =
    sys::RTE_ETH_RSS_NONFRAG_IPV4_TCP as u64 | sys::RTE_ETH_RSS_NONFRAG_IPV6_TCP as u64;

/// Entries of a group in which the table is read.
const GROUP: usize = 64;

/// How a device spreads packets over its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// The key of the Toeplitz hash. Empty if the device does not tell.
    pub key: Vec<u8>,
    /// The redirection table: the queue of a packet is entry `hash % table.len()`. Empty if the
    /// device does not tell.
    pub table: Vec<u16>,
    /// TCP over IPv4 is hashed.
    pub tcp_v4: bool,
    /// TCP over IPv6 is hashed.
    pub tcp_v6: bool,
}

/// Asks for RSS in the configuration, if the device can do it for TCP.
pub(crate) fn request(conf: &mut sys::rte_eth_conf, info: &sys::rte_eth_dev_info) -> bool {
    let hash = TCP & info.flow_type_rss_offloads;
    if hash == 0 {
        return false;
    }
    conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = hash;
    true
}

/// Reads what a started device does.
pub(crate) fn read(
    name: &str,
    id: u16,
    info: &sys::rte_eth_dev_info,
) -> Result<Option<Rss>, DpdkError> {
    let error = |step, returned: i32| DpdkError::Device {
        name: name.to_owned(),
        step,
        errno: Errno(-returned),
    };

    let mut key = vec![0u8; usize::from(info.hash_key_size)];
    let mut conf = sys::rte_eth_rss_conf {
        rss_key: key.as_mut_ptr(),
        rss_key_len: info.hash_key_size,
        rss_hf: 0,
    };
    // SAFETY: the key's buffer is as long as the device's key.
    let got = unsafe { sys::rte_eth_dev_rss_hash_conf_get(id, &mut conf) };
    if got == -libc::ENOTSUP {
        return Ok(None);
    }
    if got != 0 {
        return Err(error("rte_eth_dev_rss_hash_conf_get", got));
    }

    let size = usize::from(info.reta_size);
    let all = sys::rte_eth_rss_reta_entry64 {
        mask: u64::MAX,
        reta: [0; GROUP],
    };
    let mut groups = vec![all; size.div_ceil(GROUP)];
    let mut table = Vec::with_capacity(size);
    if size > 0 {
        // SAFETY: there is a group for each 64 entries.
        let got =
            unsafe { sys::rte_eth_dev_rss_reta_query(id, groups.as_mut_ptr(), info.reta_size) };
        match got {
            0 => table.extend(groups.iter().flat_map(|group| group.reta).take(size)),
            error if error == -libc::ENOTSUP => {}
            got => return Err(error("rte_eth_dev_rss_reta_query", got)),
        }
    }
    Ok(Some(Rss {
        key,
        table,
        tcp_v4: conf.rss_hf & u64::from(sys::RTE_ETH_RSS_NONFRAG_IPV4_TCP) != 0,
        tcp_v6: conf.rss_hf & u64::from(sys::RTE_ETH_RSS_NONFRAG_IPV6_TCP) != 0,
    }))
}
