//! The driver's ways in, against the kernel's policies.

use std::io;

use dsa::chardev::CharDev;
use dsa::dma::DmaArray;
use dsa::portal::{HardwarePortal, Portal};
use dsa::sysfs::Mode;
use dsa::{CompletionRecord, Descriptor, Error, Flags, Opcode};
use dsa_model::chardev::ModelFile;
use dsa_model::{Config, Faults, Memory, Model};

fn model(mode: Mode, short_write: u32) -> Model {
    let config = Config {
        mode,
        faults: Faults {
            short_write,
            ..Faults::default()
        },
        ..Config::default()
    };
    Model::new(config, Memory::direct())
}

fn noop(record: u64) -> Descriptor {
    Descriptor::new(Opcode::Noop, Flags::WITH_RECORD, record)
}

#[test]
fn a_dedicated_queue_has_one_user() {
    let file = ModelFile::new(&model(Mode::Dedicated, 0), false);
    let first = file.open().unwrap();
    let second = file.open().unwrap_err();
    assert_eq!(second.raw_os_error(), Some(libc::EBUSY));
    let info = Config::default().info("wq0.0");
    let said = dsa::queue::cannot_open(&info, second);
    assert!(matches!(said, Error::Busy { .. }), "{said}");
    drop(first);
    assert!(file.open().is_ok());
    let file = ModelFile::new(&model(Mode::Shared, 0), false);
    let (_first, _second) = (file.open().unwrap(), file.open().unwrap());
}

#[test]
fn without_privilege_the_driver_writes_and_submits_no_batches() {
    for mode in [Mode::Dedicated, Mode::Shared] {
        let model = model(mode, 0);
        let file = ModelFile::new(&model, false);
        let info = model.config().info("wq0.0");
        let mut portal = HardwarePortal::new(file.open().unwrap(), &info).unwrap();
        assert!(!portal.takes_batches());
        let records = DmaArray::new(3, CompletionRecord::default);
        let list = [0, 1, 2].map(|index| noop(records.address(index)));
        assert_eq!(portal.submit(&list).taken, 3);
        while model.step() {}
        assert!((0..3).all(|index| records.record(index).status().is_some()));
        portal.close();
        assert_eq!(portal.submit(&list).taken, 0);
        assert!(file.open().is_ok(), "closed");
    }
}

#[test]
fn write_refuses_batches_and_misplaced_records_and_may_be_short() {
    let model = model(Mode::Dedicated, 300);
    let file = ModelFile::new(&model, false).open().unwrap();
    let records = DmaArray::new(8, CompletionRecord::default);
    let invalid = |error: io::Error| error.raw_os_error() == Some(libc::EINVAL);
    let batch = Descriptor::batch(0x1000, 2, records.address(0));
    assert!(file.write(&[batch]).is_err_and(invalid));
    assert!(
        file.write(&[noop(records.address(0) + 8)])
            .is_err_and(invalid)
    );
    let good: Vec<_> = (0..8).map(|index| noop(records.address(index))).collect();
    assert_eq!(
        file.write(&[good[0], batch]).unwrap(),
        1,
        "what came before is submitted"
    );
    let mut short = 0;
    for _ in 0..50 {
        let written = file.write(&good).unwrap();
        assert!((1..=8).contains(&written));
        short += u32::from(written < 8);
        while model.step() {}
    }
    assert!(short > 20, "{short}");
}
