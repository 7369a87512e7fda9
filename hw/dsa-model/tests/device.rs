//! What the model does that the specification demands or allows: each of the ways in which it could
//! be kinder to drivers than hardware is, and is not.

use std::collections::HashSet;

use dsa::dma::DmaArray;
use dsa::instruction::Accepted;
use dsa::sysfs::Mode;
use dsa::{CompletionRecord, Descriptor, Flags, Opcode, Status};
use dsa_model::{Config, Faults, Instruction, Memory, Model};

/// A device, a list of descriptors and records, and memory to move.
struct Lab {
    model: Model,
    list: DmaArray<Descriptor>,
    records: DmaArray<CompletionRecord>,
    bytes: DmaArray<u8>,
}

const SOURCE: usize = 0;
const TARGET: usize = 4096;
const MOST: usize = 32;

impl Lab {
    fn new(config: Config) -> Self {
        let mut count = 0;
        Self {
            model: Model::new(config, Memory::direct()),
            list: DmaArray::new(MOST, Descriptor::default),
            records: DmaArray::new(MOST + 1, CompletionRecord::default),
            bytes: DmaArray::new(8192, || {
                count += 1;
                if count <= TARGET {
                    (count * 7) as u8
                } else {
                    0
                }
            }),
        }
    }

    fn faulty(seed: u64, faults: Faults) -> Self {
        Self::new(Config {
            seed,
            faults,
            ..Config::default()
        })
    }

    fn address(&self, at: usize) -> u64 {
        self.bytes.address(at)
    }

    /// 100 bytes of the source to the same place in the target.
    fn copy(&self, index: usize) -> Descriptor {
        Descriptor::memmove(
            self.address(SOURCE + 100 * index),
            self.address(TARGET + 100 * index),
            100,
            Flags::NONE,
            self.records.address(index),
        )
    }

    fn copied(&self, index: usize) -> usize {
        let from = SOURCE + 100 * index;
        let to = TARGET + 100 * index;
        (0..100)
            .take_while(|&at| self.bytes.read(from + at) == self.bytes.read(to + at))
            .count()
    }

    fn batch(&mut self, count: usize) -> Descriptor {
        for index in 0..count {
            let copy = self.copy(index);
            self.list.write(index, copy);
        }
        Descriptor::batch(
            self.list.address(0),
            count as u32,
            self.records.address(MOST),
        )
    }

    fn submit(&self, descriptor: Descriptor) {
        let instruction = match self.model.config().mode {
            Mode::Dedicated => Instruction::Movdir64b,
            Mode::Shared => Instruction::Enqcmd,
        };
        let _answer = self.model.gate().submit(instruction, descriptor);
    }

    fn run(&self) {
        let mut steps = 0;
        while self.model.step() {
            steps += 1;
            assert!(steps < 1_000_000);
        }
    }

    fn status(&self, index: usize) -> Option<Status> {
        self.records.record(index).status()
    }

    /// How one descriptor alone ends.
    fn fate(&self, descriptor: Descriptor) -> Option<Status> {
        self.records.record(0).clear();
        self.submit(descriptor);
        self.run();
        self.status(0)
    }
}

fn seeds() -> impl Iterator<Item = Lab> {
    (0..200).map(|seed| {
        Lab::new(Config {
            seed,
            ..Config::default()
        })
    })
}

#[test]
fn a_batch_is_carried_out_in_any_order_and_its_record_comes_last() {
    let mut orders = HashSet::new();
    for mut lab in seeds() {
        let batch = lab.batch(4);
        lab.submit(batch);
        let mut order = Vec::new();
        while lab.status(MOST).is_none() {
            assert!(lab.model.step());
            for index in 0..4 {
                if lab.status(index).is_some() && !order.contains(&index) {
                    assert_eq!(lab.copied(index), 100, "the data comes before the record");
                    order.push(index);
                }
            }
        }
        assert_eq!(order.len(), 4, "the batch's record comes after all others");
        let _new = orders.insert(order);
    }
    assert_eq!(orders.len(), 24, "every order occurs");
}

#[test]
fn with_one_engine_and_no_disorder_everything_is_in_order() {
    for seed in 0..50 {
        let mut lab = Lab::new(Config {
            seed,
            parallel: 1,
            ordered: true,
            ..Config::default()
        });
        let batch = lab.batch(6);
        lab.submit(batch);
        lab.submit(lab.copy(7));
        let mut done = 0;
        while lab.model.step() {
            while done < 6 && lab.status(done).is_some() {
                done += 1;
            }
            assert!((done..6).all(|index| lab.status(index).is_none()));
            assert!(lab.status(7).is_none() || lab.status(MOST).is_some());
        }
        assert_eq!((done, lab.status(7)), (6, Some(Status::Success)));
    }
}

#[test]
fn descriptors_overtake_each_other_but_not_a_drain() {
    let mut overtaken = 0;
    for lab in seeds() {
        for index in 0..3 {
            lab.submit(lab.copy(index));
        }
        lab.submit(Descriptor::drain(lab.records.address(3)));
        while lab.status(3).is_none() {
            assert!(lab.model.step());
            overtaken += u32::from(lab.status(2).is_some() && lab.status(0).is_none());
        }
        assert!(
            (0..3).all(|index| lab.status(index).is_some()),
            "a drain waits for all"
        );
    }
    assert!(overtaken > 100, "{overtaken}");
}

#[test]
fn sources_and_lists_are_read_late_and_copies_are_seen_half_done() {
    let (mut late_source, mut late_list, mut half) = (0, 0, 0);
    for mut lab in seeds() {
        lab.submit(lab.copy(0));
        lab.bytes.write(SOURCE, 0xaa);
        while lab.status(0).is_none() {
            half += u32::from((1..99).contains(&lab.copied(0)));
            assert!(lab.model.step());
        }
        late_source += u32::from(lab.bytes.read(TARGET) == 0xaa);

        let batch = lab.batch(2);
        lab.submit(batch);
        let _busy = lab.model.step();
        let other = lab.copy(5);
        lab.list.write(1, other);
        lab.run();
        late_list += u32::from(lab.status(5).is_some());
    }
    assert_eq!(late_source, 200);
    assert!(late_list > 100, "{late_list}");
    assert!(half > 100, "{half}");
}

#[test]
fn records_may_lie_over_descriptors() {
    for mut lab in seeds() {
        for index in 0..4 {
            let mut copy = lab.copy(index);
            copy.record = lab.list.address(index);
            lab.list.write(index, copy);
        }
        let list = lab.list.address(0);
        lab.submit(Descriptor::batch(list, 4, lab.records.address(MOST)));
        lab.run();
        assert_eq!(lab.status(MOST), Some(Status::Success));
        assert!((0..4).all(|index| lab.copied(index) == 100));
    }
}

#[test]
fn fences_hold_back_and_failures_before_them_abandon_the_rest() {
    let fence = Flags::WITH_RECORD.with(Flags::FENCE);
    for mut lab in seeds() {
        let batch = lab.batch(4);
        let fenced = lab.copy(2).with_flags(fence);
        lab.list.write(2, fenced);
        lab.submit(batch);
        while lab.status(MOST).is_none() {
            assert!(lab.model.step());
            if lab.status(2).is_some() {
                assert!(lab.status(0).is_some() && lab.status(1).is_some());
            }
            assert!(lab.status(3).is_none() || lab.status(0).is_some());
        }
        assert_eq!(lab.status(MOST), Some(Status::Success));

        let mut lab = Lab::new(lab.model.config().clone());
        let batch = lab.batch(4);
        let bad = lab.copy(0).with_opcode(0x77);
        lab.list.write(0, bad);
        let fenced = lab.copy(2).with_flags(fence);
        lab.list.write(2, fenced);
        lab.submit(batch);
        lab.run();
        assert_eq!(lab.status(MOST), Some(Status::BatchFailed));
        assert_eq!(
            lab.status(1),
            Some(Status::Success),
            "the healthy sibling is done"
        );
        assert_eq!(
            (lab.status(2), lab.status(3)),
            (None, None),
            "no records of the abandoned"
        );
        assert_eq!(lab.copied(3), 0);
    }
}

#[test]
fn what_breaks_a_rule_is_refused() {
    let mut lab = Lab::new(Config {
        max_batch: 8,
        max_transfer: 1000,
        ..Config::default()
    });
    let copy = lab.copy(0);
    let mut batch = lab.batch(8);
    batch.record = lab.records.address(0);
    let with = |change: fn(&mut Descriptor)| {
        let mut changed = copy;
        change(&mut changed);
        changed
    };
    let batch_with = |change: fn(&mut Descriptor)| {
        let mut changed = batch;
        change(&mut changed);
        changed
    };
    let fence = Flags::WITH_RECORD.with(Flags::FENCE);
    let blocking = Flags::WITH_RECORD.with(Flags::BLOCK_ON_FAULT);
    for (descriptor, status) in [
        (copy, Status::Success),
        (batch, Status::Success),
        (copy.with_flags(blocking), Status::Success),
        (
            Descriptor::new(Opcode::Noop, Flags::WITH_RECORD, copy.record),
            Status::Success,
        ),
        (copy.with_opcode(0x7f), Status::BadOpcode),
        (copy.with_flags(fence), Status::BadFlags),
        (batch.with_flags(fence), Status::BadFlags),
        (batch.with_flags(blocking), Status::BadFlags),
        (with(|d| d.reserved = 1), Status::ReservedField),
        (with(|d| d.pasid = 1 << 20), Status::ReservedField),
        (with(|d| d.specific[2] = 1), Status::ReservedField),
        (with(|d| d.size = 1001), Status::BadSize),
        (with(|d| d.size = 0), Status::BadSize),
        (batch_with(|d| d.size = 1), Status::BadCount),
        (batch_with(|d| d.size = 9), Status::BadCount),
        (batch_with(|d| d.source += 32), Status::ListMisaligned),
    ] {
        assert_eq!(lab.fate(descriptor), Some(status), "{descriptor:?}");
    }
    assert_eq!(
        lab.records.record(0).status_bits(),
        Status::ListMisaligned.bits()
    );

    // No batch in a batch, and a fence there is allowed.
    lab.list.write(0, batch);
    assert_eq!(lab.fate(batch), Some(Status::BatchFailed));
    // The flags that are not valid are named.
    assert_eq!(lab.fate(copy.with_flags(fence)), Some(Status::BadFlags));
    let detail = &lab.records.record(0).detail;
    assert_eq!(
        detail.load(std::sync::atomic::Ordering::Relaxed),
        Flags::FENCE.bits()
    );
}

#[test]
fn which_of_two_errors_is_told_varies() {
    let mut seen = HashSet::new();
    for lab in seeds() {
        let mut copy = lab
            .copy(0)
            .with_flags(Flags::WITH_RECORD.with(Flags::FENCE));
        copy.size = 0;
        let _new = seen.insert(lab.fate(copy));
    }
    assert_eq!(
        seen,
        HashSet::from([Some(Status::BadFlags), Some(Status::BadSize)])
    );
}

#[test]
fn records_that_do_not_come() {
    let mut lab = Lab::new(Config::default());
    let copy = lab.copy(0);
    let quiet = copy.with_flags(Flags::RECORD_VALID);
    assert_eq!(lab.fate(quiet), None, "success without a request");
    assert_eq!(lab.copied(0), 100);
    let mut failing = quiet;
    failing.size = 0;
    assert_eq!(
        lab.fate(failing),
        Some(Status::BadSize),
        "failure without a request"
    );
    let mut batch = lab.batch(2).with_flags(Flags::RECORD_VALID);
    batch.record = copy.record;
    lab.list.write(0, copy.with_opcode(0x7f));
    let mut second = lab.copy(1);
    second.record = lab.records.address(2);
    lab.list.write(1, second);
    lab.records.record(2).clear();
    // The first descriptor of the list writes to the same record: look at the batch only.
    let mut first = copy.with_opcode(0x7f);
    first.record = lab.records.address(3);
    lab.list.write(0, first);
    assert_eq!(lab.fate(batch), None, "a failing batch without a request");
    assert_eq!(
        (lab.status(3), lab.status(2)),
        (Some(Status::BadOpcode), Some(Status::Success))
    );

    let mut misplaced = lab.copy(4);
    misplaced.record += 8;
    assert_eq!(lab.fate(misplaced), None);
    assert_eq!(
        lab.copied(4),
        0,
        "a misaligned record discards the descriptor"
    );
    misplaced.record = 32;
    assert_eq!(lab.fate(misplaced), None);
    let nowhere = lab.copy(4).with_flags(Flags::REQUEST_RECORD);
    assert_eq!(lab.fate(nowhere), None);

    lab.model.set_enabled(false);
    assert_eq!(lab.fate(copy), None, "a disabled queue");
    lab.model.set_enabled(true);
    let _answer = lab.model.gate().submit(Instruction::Enqcmd, copy);
    lab.run();
    lab.submit(copy);
    lab.model.reset();
    lab.run();
    assert_eq!(lab.status(0), None, "a reset");
    assert_eq!(lab.fate(copy), Some(Status::Success));
}

#[test]
fn a_dedicated_queue_overflows_in_silence_and_frees_slots_at_completion() {
    let lab = Lab::new(Config {
        size: 4,
        ..Config::default()
    });
    for index in 0..4 {
        lab.submit(lab.copy(index));
    }
    // All are under way, none is done: no slot is free yet.
    let _busy = lab.model.step();
    lab.submit(lab.copy(4));
    assert_eq!(lab.model.stats().0.overflowed, 1);
    lab.run();
    let done = (0..5).filter(|&index| lab.status(index).is_some()).count();
    assert_eq!((done, lab.status(4)), (4, None));
    assert_eq!(lab.fate(lab.copy(0)), Some(Status::Success));
}

#[test]
fn a_shared_queue_says_when_it_is_full_and_sometimes_when_it_is_not() {
    let shared = |full| {
        Lab::new(Config {
            mode: Mode::Shared,
            size: 4,
            faults: Faults {
                full,
                ..Faults::default()
            },
            ..Config::default()
        })
    };
    let lab = shared(0);
    let submit = |lab: &Lab, index| {
        lab.model
            .gate()
            .submit(Instruction::Enqcmd, lab.copy(index))
    };
    let answers: Vec<_> = (0..5).map(|index| submit(&lab, index)).collect();
    assert_eq!(answers[3..], [Accepted::Yes, Accepted::Retry]);
    lab.run();
    assert_eq!(submit(&lab, 4), Accepted::Yes);
    let lab = shared(500);
    let refused = (0..100).filter(|_| {
        let refused = submit(&lab, 0) == Accepted::Retry;
        lab.run();
        refused
    });
    assert!((20..80).contains(&refused.count()));
}

#[test]
fn the_wrong_instruction_goes_nowhere() {
    let lab = Lab::new(Config::default());
    for _ in 0..1000 {
        let answer = lab.model.gate().submit(Instruction::Enqcmd, lab.copy(0));
        assert_eq!(answer, Accepted::Retry, "for ever");
    }
    let lab = Lab::new(Config {
        mode: Mode::Shared,
        ..Config::default()
    });
    let _posted = lab.model.gate().submit(Instruction::Movdir64b, lab.copy(0));
    lab.run();
    assert_eq!((lab.status(0), lab.copied(0)), (None, 0));
    assert_eq!(lab.model.stats().0.wrong_instruction, 1);
}

#[test]
fn page_faults_come_with_a_truly_written_prefix_or_suffix() {
    use std::sync::atomic::Ordering::Relaxed;
    let (mut forwards, mut backwards, mut writes) = (0, 0, 0);
    for seed in 0..400 {
        let lab = Lab::faulty(
            seed,
            Faults {
                source: 500,
                target: 500,
                ..Faults::default()
            },
        );
        match lab.fate(lab.copy(0)) {
            Some(Status::PageFault) => {
                let record = lab.records.record(0);
                let done = record.completed.load(Relaxed) as usize;
                assert!(done < 100);
                let write = record.status_bits() & Status::WRITE_FAULT != 0;
                writes += u32::from(write);
                let base = lab.address(if write { TARGET } else { SOURCE });
                let fault = record.fault_address.load(Relaxed);
                match record.result.load(Relaxed) {
                    0 => {
                        forwards += 1;
                        assert!(lab.copied(0) >= done);
                        assert_eq!(fault, base + done as u64);
                    }
                    1 => {
                        backwards += 1;
                        let same = |at| lab.bytes.read(SOURCE + at) == lab.bytes.read(TARGET + at);
                        assert!((100 - done..100).all(same));
                        assert_eq!(fault, base + 99 - done as u64);
                    }
                    other => panic!("{other}"),
                }
                // The resumed copy may fault again.
            }
            Some(Status::Success) => assert_eq!(lab.copied(0), 100),
            other => panic!("{other:?}"),
        }
        // Who waits for faults to be mended gets no faults.
        let blocking = lab
            .copy(1)
            .with_flags(Flags::WITH_RECORD.with(Flags::BLOCK_ON_FAULT));
        lab.submit(blocking);
        lab.run();
        assert_eq!(lab.status(1), Some(Status::Success));
    }
    assert!(
        forwards > 100 && backwards > 40 && writes > 40,
        "{forwards} {backwards} {writes}"
    );
}

#[test]
fn faults_of_lists_and_records() {
    use std::sync::atomic::Ordering::Relaxed;
    for seed in 0..100 {
        let faults = Faults {
            list: 1000,
            ..Faults::default()
        };
        let mut lab = Lab::faulty(seed, faults);
        let batch = lab.batch(8);
        lab.submit(batch);
        lab.run();
        assert_eq!(lab.status(MOST), Some(Status::ListFault));
        let completed = lab.records.record(MOST).completed.load(Relaxed) as usize;
        assert!(completed < 8);
        for index in 0..8 {
            assert_eq!(lab.status(index).is_some(), index < completed);
            assert_eq!(lab.copied(index) == 100, index < completed);
        }
    }
    let faults = Faults {
        record: 1000,
        ..Faults::default()
    };
    let lab = Lab::faulty(1, faults);
    assert_eq!(lab.fate(lab.copy(0)), None);
    assert_eq!(lab.copied(0), 0);
}

#[test]
fn unused_fields_of_records_hold_garbage() {
    use std::sync::atomic::Ordering::Relaxed;
    let mut values = HashSet::new();
    for lab in seeds() {
        assert_eq!(lab.fate(lab.copy(0)), Some(Status::Success));
        let record = lab.records.record(0);
        let _new = values.insert(record.completed.load(Relaxed));
        assert_ne!(record.fault_address.load(Relaxed), 0);
    }
    assert!(values.len() > 190);
}

#[test]
fn missing_pages_are_found_by_probing() {
    // SAFETY: a new mapping.
    let pages = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            12288,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(pages, libc::MAP_FAILED);
    let first = pages as u64;
    // SAFETY: nobody uses the page.
    let removed = unsafe { libc::munmap(pages.wrapping_byte_add(8192), 4096) };
    assert_eq!(removed, 0);
    let mut memory = Memory::probed();
    memory.write(first, &[7; 4096]).unwrap();
    memory.copy(first, first + 4096, 4096).unwrap();
    // Overlapping, as if at once.
    memory.write(first, &[1, 2, 3, 4, 5]).unwrap();
    memory.copy(first, first + 2, 3).unwrap();
    let mut bytes = [0; 5];
    memory.read(first, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 1, 2, 3]);

    let missing = memory.copy(first, first + 4096, 5000).unwrap_err();
    assert!(
        missing.write && missing.address <= first + 8192,
        "{missing:?}"
    );
    let missing = memory.copy(first + 8100, first, 200).unwrap_err();
    assert_eq!((missing.write, missing.done), (false, 92));
    assert_eq!(missing.address, first + 8192);
    let missing = memory.copy(0, first, 10).unwrap_err();
    assert_eq!((missing.write, missing.address), (false, 0));
    assert!(!memory.can_write_record(first + 8192));
    assert!(memory.can_write_record(first + 64));
    // SAFETY: mapped above.
    let _unmapped = unsafe { libc::munmap(pages, 8192) };
}

#[test]
fn the_same_seed_does_the_same() {
    let run = |seed| {
        let mut lab = Lab::faulty(
            seed,
            Faults {
                source: 200,
                ..Faults::default()
            },
        );
        let batch = lab.batch(8);
        lab.submit(batch);
        let mut history = Vec::new();
        while lab.model.step() {
            history.push((0..8).map(|index| lab.status(index)).collect::<Vec<_>>());
        }
        history
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
