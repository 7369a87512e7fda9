//! What EAL says when it cannot start.

use dpdk::{DpdkError, Eal};

#[test]
fn a_bad_option_is_named() {
    let args = [
        "--no-huge",
        "-m",
        "64",
        "--no-pci",
        "--no-telemetry",
        "--in-memory",
        "-l",
        "4000",
    ];
    let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    let error = Eal::init(&args).unwrap_err();
    match &error {
        DpdkError::Eal { said, .. } => {
            assert!(said.contains("4000") || said.contains("core"), "{said}")
        }
        other => panic!("{other}"),
    }
    assert_eq!(Eal::init(&args).unwrap_err(), DpdkError::EalTwice);
}
