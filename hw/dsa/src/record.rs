//! What the device answers: `struct dsa_completion_record` of `linux/idxd.h`.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// How a descriptor ended: `enum dsa_completion_status`, without bit 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// 0x01: as it was told.
    Success,
    /// 0x02: done, and a comparison did not hold.
    FalsePredicate,
    /// 0x03: a page was not there, and the descriptor did not ask to wait for it. Some of the work
    /// may be done.
    PageFault,
    /// 0x05: of a batch, at least one descriptor did not end with success. The others are done.
    BatchFailed,
    /// 0x06: of a batch, the list could not be read to its end.
    ListFault,
    /// 0x10: no such opcode, or not here.
    BadOpcode,
    /// 0x11: flags that the opcode, or the place, does not have.
    BadFlags,
    /// 0x12: a reserved field is not zero.
    ReservedField,
    /// 0x13: more bytes than the queue carries, or none.
    BadSize,
    /// 0x14: more descriptors than the queue takes in a batch, or too few.
    BadCount,
    /// 0x16: ranges that must not overlap do.
    Overlap,
    /// 0x18: the list does not begin at a multiple of 64.
    ListMisaligned,
    /// 0x1a: the record's page was not there.
    RecordFault,
    /// 0x1b: the record's address is no multiple of 32.
    RecordMisaligned,
    /// Any other number.
    Other(u8),
}

impl Status {
    /// `DSA_COMP_STATUS_WRITE`: the fault was one of writing.
    pub const WRITE_FAULT: u8 = 0x80;

    /// The numbers that have a name.
    pub const NAMED: [(u8, Self); 14] = [
        (0x01, Self::Success),
        (0x02, Self::FalsePredicate),
        (0x03, Self::PageFault),
        (0x05, Self::BatchFailed),
        (0x06, Self::ListFault),
        (0x10, Self::BadOpcode),
        (0x11, Self::BadFlags),
        (0x12, Self::ReservedField),
        (0x13, Self::BadSize),
        (0x14, Self::BadCount),
        (0x16, Self::Overlap),
        (0x18, Self::ListMisaligned),
        (0x1a, Self::RecordFault),
        (0x1b, Self::RecordMisaligned),
    ];

    /// What a status byte says; `None` while it is zero: not written yet.
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits & !Self::WRITE_FAULT {
            0 if bits == 0 => None,
            number => Some(
                Self::NAMED
                    .into_iter()
                    .find(|&(named, _)| named == number)
                    .map_or(Self::Other(number), |(_, status)| status),
            ),
        }
    }

    /// The number, without bit 7.
    pub fn bits(self) -> u8 {
        match self {
            Self::Other(number) => number,
            status => Self::NAMED
                .into_iter()
                .find(|&(_, named)| named == status)
                .map_or(0, |(number, _)| number),
        }
    }
}

/// One completion record. The device writes it at any time after submission; the status comes last.
#[derive(Debug, Default)]
#[repr(C, align(32))]
pub struct CompletionRecord {
    status: AtomicU8,
    /// Of a page fault: 1 when the copy ran from the end to the start.
    pub result: AtomicU8,
    reserved: AtomicU16,
    /// Bytes done before a page fault; of a batch, descriptors.
    pub completed: AtomicU32,
    /// The address that faulted.
    pub fault_address: AtomicU64,
    /// Flags that were not valid, or a CRC.
    pub detail: AtomicU32,
    rest: [AtomicU32; 3],
}

impl CompletionRecord {
    /// How the descriptor ended; `None`: not yet. What the device wrote before, data included, can
    /// be read after `Some`.
    #[inline]
    pub fn status(&self) -> Option<Status> {
        // Acquire: nothing that follows is read before.
        Status::from_bits(self.status.load(Ordering::Acquire))
    }

    /// The status byte as it is, with bit 7.
    pub fn status_bits(&self) -> u8 {
        self.status.load(Ordering::Acquire)
    }

    /// Makes the record ready for a descriptor that is yet to be submitted.
    #[inline]
    pub fn clear(&self) {
        self.status.store(0, Ordering::Relaxed);
    }
}
