//! A process of its own, because it uses up all the mappings the kernel grants one.

use hugepage::FillerRings;

#[test]
fn running_out_of_mappings_names_the_setting() {
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 1 << 20 {
        return; // Too long to wait for.
    }
    // SAFETY: nothing is written to the rings at all.
    let mut rings = unsafe { FillerRings::new(4096, false) }.unwrap();
    assert_eq!(rings.pairs_per_mapping(), 1);
    let mut made = 0;
    let error = loop {
        match rings.pair() {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made <= limit, "more mappings than the kernel grants");
    };
    assert!(error.to_string().contains("vm.max_map_count"), "{error}");
    // What was handed out before still works, and the next attempt fails as cleanly.
    assert!(rings.pair().is_err());
}
