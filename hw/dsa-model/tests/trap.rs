//! The driver's true instructions, caught.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use dsa::dma::DmaArray;
use dsa::instruction::{Accepted, enqcmd, has_enqcmd, has_movdir64b, movdir64b};
use dsa::portal::{HardwarePortal, Portal};
use dsa::sysfs::Mode;
use dsa::{CompletionRecord, Descriptor, Flags, Opcode, Status};
use dsa_model::chardev::ModelFile;
use dsa_model::trap::{Trapped, decode};
use dsa_model::{Config, Instruction, Memory, Model};

#[test]
fn instructions_are_taken_apart() {
    // Register n holds (n + 1) << 32.
    let registers = std::array::from_fn(|n| (n as u64 + 1) << 32);
    let r = |n: u64| (n + 1) << 32;
    let (move64, enqueue) = (Instruction::Movdir64b, Instruction::Enqcmd);
    for (bytes, instruction, portal, source) in [
        // movdir64b rax, [rcx]
        (&[0x66, 0x0f, 0x38, 0xf8, 0x01][..], move64, r(0), r(1)),
        // enqcmd rax, [rcx]
        (&[0xf2, 0x0f, 0x38, 0xf8, 0x01], enqueue, r(0), r(1)),
        // movdir64b r10, [rdi + 0x40]
        (
            &[0x66, 0x44, 0x0f, 0x38, 0xf8, 0x57, 0x40],
            move64,
            r(10),
            r(7) + 0x40,
        ),
        // movdir64b rdx, [r9 - 0x80]
        (
            &[0x66, 0x41, 0x0f, 0x38, 0xf8, 0x51, 0x80],
            move64,
            r(2),
            r(9) - 0x80,
        ),
        // enqcmd rsi, [rsp + 0x11223344]
        (
            &[0xf2, 0x0f, 0x38, 0xf8, 0xb4, 0x24, 0x44, 0x33, 0x22, 0x11],
            enqueue,
            r(6),
            r(4) + 0x1122_3344,
        ),
        // movdir64b rax, [rbx + r12 * 8 + 1]
        (
            &[0x66, 0x42, 0x0f, 0x38, 0xf8, 0x44, 0xe3, 0x01],
            move64,
            r(0),
            r(3) + (r(12) << 3) + 1,
        ),
        // movdir64b rax, [rip + 0x10]
        (
            &[0x66, 0x0f, 0x38, 0xf8, 0x05, 0x10, 0, 0, 0],
            move64,
            r(0),
            0x7000 + 9 + 0x10,
        ),
        // movdir64b rax, [0x1000 + rcx * 2]
        (
            &[0x66, 0x0f, 0x38, 0xf8, 0x04, 0x4d, 0, 0x10, 0, 0],
            move64,
            r(0),
            (r(1) << 1) + 0x1000,
        ),
        // movdir64b r8, [r13 + 0]
        (
            &[0x66, 0x45, 0x0f, 0x38, 0xf8, 0x45, 0x00],
            move64,
            r(8),
            r(13),
        ),
    ] {
        let expected = Trapped {
            instruction,
            portal,
            source,
            len: bytes.len(),
        };
        let mut followed = bytes.to_vec();
        followed.extend([0x90; 4]);
        assert_eq!(
            decode(&followed, &registers, 0x7000),
            Some(expected),
            "{bytes:x?}"
        );
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut], &registers, 0x7000), None);
        }
    }
    // ud2; movdir64b with a register; crc32; movbe.
    for other in [
        &[0x0f, 0x0b, 0, 0, 0][..],
        &[0x66, 0x0f, 0x38, 0xf8, 0xc1],
        &[0xf2, 0x0f, 0x38, 0xf1, 0x01],
        &[0x66, 0x0f, 0x38, 0xf0, 0x01],
        &[0x0f, 0x38, 0xf8, 0x01, 0x90],
    ] {
        assert_eq!(decode(other, &registers, 0), None, "{other:x?}");
    }
}

/// A processor that has the instructions does not trap them.
fn can_trap() -> bool {
    dsa_model::trap::install().unwrap();
    !has_movdir64b() && !has_enqcmd()
}

fn model(mode: Mode) -> Model {
    let config = Config {
        mode,
        size: 4,
        ..Config::default()
    };
    Model::new(config, Memory::direct())
}

#[test]
fn both_instructions_reach_the_model_of_their_page() {
    if !can_trap() {
        return;
    }
    let (dedicated, shared) = (model(Mode::Dedicated), model(Mode::Shared));
    let pages = DmaArray::new(2, || Page([0; 4096]));
    let slot = |index: usize, at: u64| (pages.address(index) + at) as *mut u8;
    dsa_model::trap::register(pages.address(0) as usize, dedicated.clone());
    dsa_model::trap::register(pages.address(1) as usize, shared.clone());
    let records = DmaArray::new(1, CompletionRecord::default);
    let noop = Descriptor::new(Opcode::Noop, Flags::WITH_RECORD, records.address(0));
    for at in [0, 64, 4032] {
        records.record(0).clear();
        // SAFETY: the slots are aligned, and the trap is installed.
        unsafe { movdir64b(slot(0, at), &noop) };
        while dedicated.step() {}
        assert_eq!(records.record(0).status(), Some(Status::Success));
    }
    // SAFETY: as above.
    let answers: Vec<_> = (0..6)
        .map(|at| unsafe { enqcmd(slot(1, 64 * at), &noop) })
        .collect();
    assert_eq!(answers[..4], [Accepted::Yes; 4]);
    assert_eq!(answers[4..], [Accepted::Retry; 2]);
    while shared.step() {}
    // SAFETY: as above.
    unsafe {
        assert_eq!(
            enqcmd(slot(0, 0), &noop),
            Accepted::Retry,
            "dedicated: never"
        );
        movdir64b(slot(1, 0), &noop);
    }
    assert_eq!(shared.stats().0.wrong_instruction, 1);
    assert!(dsa_model::trap::forget(pages.address(0) as usize).is_some());
    assert!(dsa_model::trap::forget(pages.address(0) as usize).is_none());
}

#[repr(C, align(4096))]
struct Page([u8; 4096]);

#[test]
fn the_drivers_portal_works_through_the_trap() {
    if !can_trap() {
        return;
    }
    for mode in [Mode::Dedicated, Mode::Shared] {
        let model = model(mode);
        let file = ModelFile::new(&model, true);
        let info = model.config().info("wq0.0");
        let mut portal = HardwarePortal::new(file.open().unwrap(), &info).unwrap();
        assert!(portal.takes_batches());
        let records = DmaArray::new(1, CompletionRecord::default);
        let noop = Descriptor::new(Opcode::Noop, Flags::WITH_RECORD, records.address(0));
        for round in 0..200 {
            records.record(0).clear();
            let submitted = portal.submit(&[noop]);
            assert_eq!((submitted.taken, submitted.retries), (1, 0), "{round}");
            while model.step() {}
            assert_eq!(records.record(0).status(), Some(Status::Success));
        }
        if mode == Mode::Shared {
            let submitted = portal.submit(&[noop; 6]);
            assert_eq!(
                (submitted.taken, submitted.retries),
                (4, 16),
                "bounded retry"
            );
        }
        drop(portal);
        assert!(file.open().is_ok());
    }
}
