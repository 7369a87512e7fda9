//! Binds the DPDK that `pkg-config` finds: bindgen reads `wrapper.h`, and the inline functions of
//! DPDK's headers get C wrappers, compiled with the flags DPDK itself was compiled with.

use std::env;
use std::path::PathBuf;

/// Functions used by `hw/dpdk`. The types they mention follow by themselves.
const FUNCTIONS: &[&str] = &[
    "dpdk_sys_errno",
    "dpdk_sys_mempool_free_here",
    "fopencookie",
    "rte_dev_devargs",
    "rte_dma_burst_capacity",
    "rte_dma_close",
    "rte_dma_completed_status",
    "rte_dma_configure",
    "rte_dma_copy",
    "rte_dma_get_dev_id_by_name",
    "rte_dma_info_get",
    "rte_dma_next_dev",
    "rte_dma_start",
    "rte_dma_stop",
    "rte_dma_submit",
    "rte_dma_vchan_setup",
    "rte_eal_cleanup",
    "rte_eal_init",
    "rte_eal_remote_launch",
    "rte_eal_wait_lcore",
    "rte_eth_allmulticast_enable",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_get_name_by_port",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_info_get",
    "rte_eth_dev_rss_hash_conf_get",
    "rte_eth_dev_rss_reta_query",
    "rte_eth_dev_rss_reta_update",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_find_next",
    "rte_eth_link_get_nowait",
    "rte_eth_macaddr_get",
    "rte_eth_rx_burst",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_tx_burst",
    "rte_eth_tx_done_cleanup",
    "rte_eth_tx_prepare",
    "rte_eth_tx_queue_setup",
    "rte_get_main_lcore",
    "rte_get_next_lcore",
    "rte_get_tsc_hz",
    "rte_lcore_id",
    "rte_lcore_to_socket_id",
    "rte_log_cur_msg_loglevel",
    "rte_mempool_avail_count",
    "rte_mempool_free",
    "rte_openlog_stream",
    "rte_pktmbuf_alloc_bulk",
    "rte_pktmbuf_attach",
    "rte_pktmbuf_free",
    "rte_pktmbuf_free_bulk",
    "rte_pktmbuf_free_seg",
    "rte_pktmbuf_pool_create",
    "rte_rdtsc",
    "rte_strerror",
    "setvbuf",
];

/// Constants used by `hw/dpdk`: macros and members of unnamed enumerations.
const CONSTANTS: &[&str] = &[
    "RTE_DMA_.*",
    "RTE_ETH_LINK_UP",
    "RTE_ETH_MQ_RX_.*",
    "RTE_ETH_NAME_MAX_LEN",
    "RTE_ETH_RSS_NONFRAG_IPV[46]_TCP",
    "RTE_ETH_RX_OFFLOAD_.*",
    "RTE_ETH_TX_OFFLOAD_.*",
    "RTE_ETHER_.*",
    "RTE_LOG_(EMERG|ALERT|CRIT|ERR|WARNING|NOTICE|INFO|DEBUG)",
    "RTE_MAX_ETHPORTS",
    "RTE_MAX_LCORE",
    "RTE_MBUF_.*",
    "RTE_MEMPOOL_CACHE_MAX_SIZE",
    "RTE_MEMPOOL_NAMESIZE",
    "RTE_PKTMBUF_HEADROOM",
    "SOCKET_ID_ANY",
    "_IOLBF",
];

/// Types bound as bytes without fields: nobody here looks inside, and the packed ones among them
/// inside aligned ones would not compile as Rust.
const OPAQUE: &[&str] = &[
    "_IO_FILE",
    "rte_arp_.*",
    "rte_dev_.*",
    "rte_ether_hdr",
    "rte_flow.*",
    "rte_gtp.*",
    "rte_ipv[46].*",
    "rte_mempool.*",
    "rte_vxlan.*",
];

fn main() {
    let library = pkg_config::Config::new()
        .atleast_version("22.11")
        .probe("libdpdk")
        .unwrap_or_else(|error| {
            panic!("DPDK is missing (Debian: apt install libdpdk-dev):\n{error}")
        });

    let mut flags: Vec<String> = library
        .include_paths
        .iter()
        .map(|path| format!("-I{}", path.display()))
        .collect();
    flags.extend(extra_flags());
    // DMA devices are marked so in 22.11; later releases changed the mark and not the functions.
    flags.push("-DALLOW_EXPERIMENTAL_API".to_owned());

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let wrappers = out.join("wrappers.c");
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(&flags)
        .wrap_static_fns(true)
        .wrap_static_fns_path(&wrappers)
        .clang_macro_fallback()
        .clang_macro_fallback_build_dir(&out)
        .derive_debug(false)
        .derive_default(false)
        .layout_tests(false)
        .generate_comments(false)
        .prepend_enum_name(false)
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()));
    builder = FUNCTIONS
        .iter()
        .fold(builder, |b, name| b.allowlist_function(name));
    builder = CONSTANTS
        .iter()
        .fold(builder, |b, name| b.allowlist_var(name));
    builder = OPAQUE.iter().fold(builder, |b, name| b.opaque_type(name));
    let bindings = builder.generate().expect("bindgen reads DPDK's headers");
    bindings
        .write_to_file(out.join("bindings.rs"))
        .expect("OUT_DIR is writable");

    let mut compiler = cc::Build::new();
    let _ = compiler
        .file(&wrappers)
        .include(".")
        .opt_level(3)
        .warnings(false);
    for flag in &flags {
        let _ = compiler.flag(flag);
    }
    compiler.compile("dpdk_wrappers");
}

/// The flags of `pkg-config --cflags` that the crate drops: `-include rte_config.h`, and the
/// machine that DPDK's inline functions are written for.
fn extra_flags() -> Vec<String> {
    let output = std::process::Command::new("pkg-config")
        .args(["--cflags", "libdpdk"])
        .output()
        .expect("pkg-config ran a moment ago");
    let text = String::from_utf8(output.stdout).expect("flags are text");
    let mut flags = Vec::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "-include" => {
                flags.push(word.to_owned());
                flags.extend(words.next().map(str::to_owned));
            }
            word if word.starts_with("-m") => flags.push(word.to_owned()),
            _ => {}
        }
    }
    flags
}
