//! What the device is told: `struct dsa_hw_desc` of `linux/idxd.h`.

/// What a descriptor asks for: `enum dsa_opcode`. Only what minivoy or its model of the device
/// knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Nothing but a completion.
    Noop = 0x00,
    /// Carry out a list of descriptors.
    Batch = 0x01,
    /// Wait until all descriptors submitted to the queue before are done.
    Drain = 0x02,
    /// Copy; the ranges may overlap.
    Memmove = 0x03,
    /// Fill with a pattern of eight bytes.
    Fill = 0x04,
    /// Compare two ranges.
    Compare = 0x05,
    /// Copy to two places.
    Dualcast = 0x09,
    /// A CRC over a range.
    CrcGenerate = 0x10,
    /// Copy, with a CRC.
    CopyCrc = 0x11,
    /// Flush cache lines.
    CacheFlush = 0x20,
}

impl Opcode {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Noop,
        Self::Batch,
        Self::Drain,
        Self::Memmove,
        Self::Fill,
        Self::Compare,
        Self::Dualcast,
        Self::CrcGenerate,
        Self::CopyCrc,
        Self::CacheFlush,
    ];

    /// The opcode of that number, if it is one of these.
    pub fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&opcode| opcode as u8 == bits)
    }
}

/// How it is to be done: `IDXD_OP_FLAG_*`, 24 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Begin only when all earlier descriptors of the same batch are done. Nowhere but in a batch.
    pub const FENCE: Self = Self(0x0001);
    /// Have page faults mended and wait, instead of ending with [`crate::Status::PageFault`].
    pub const BLOCK_ON_FAULT: Self = Self(0x0002);
    /// The completion address is valid.
    pub const RECORD_VALID: Self = Self(0x0004);
    /// Write the record in any case, not only on failure.
    pub const REQUEST_RECORD: Self = Self(0x0008);
    /// Write to the cache instead of to memory.
    pub const CACHE_CONTROL: Self = Self(0x0100);
    /// The valid record, in any case.
    pub const WITH_RECORD: Self = Self(Self::RECORD_VALID.0 | Self::REQUEST_RECORD.0);

    /// The flags of these bits.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & 0x00ff_ffff)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One descriptor. Numbers are little-endian, which every machine with this device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Descriptor {
    /// Bits 0–19 the PASID, bit 31 privilege. Zero from user space: a dedicated queue knows its
    /// PASID, and ENQCMD fills it in.
    pub pasid: u32,
    /// Bits 0–23 flags, 24–31 opcode.
    control: u32,
    /// Address of the completion record, a multiple of 32.
    pub record: u64,
    /// Where to copy from; of a batch, its list, a multiple of 64.
    pub source: u64,
    /// Where to copy to.
    pub target: u64,
    /// Bytes; of a batch, descriptors.
    pub size: u32,
    /// Whom to interrupt. minivoy polls.
    pub interrupt: u16,
    /// Zero.
    pub reserved: u16,
    /// What it means depends on the opcode; zero for those minivoy submits.
    pub specific: [u64; 3],
}

impl Descriptor {
    /// A descriptor with opcode, flags and record address, everything else zero.
    pub const fn new(opcode: Opcode, flags: Flags, record: u64) -> Self {
        Self {
            pasid: 0,
            control: (opcode as u32) << 24 | flags.0,
            record,
            source: 0,
            target: 0,
            size: 0,
            interrupt: 0,
            reserved: 0,
            specific: [0; 3],
        }
    }

    /// Copies `size` bytes from `source` to `target` and writes `record`.
    pub const fn memmove(source: u64, target: u64, size: u32, flags: Flags, record: u64) -> Self {
        Self {
            source,
            target,
            size,
            ..Self::new(Opcode::Memmove, flags.with(Flags::WITH_RECORD), record)
        }
    }

    /// Carries out the `count` descriptors at `list` in any order, then writes `record`.
    pub const fn batch(list: u64, count: u32, record: u64) -> Self {
        Self {
            source: list,
            size: count,
            ..Self::new(Opcode::Batch, Flags::WITH_RECORD, record)
        }
    }

    /// Writes `record` once all that was submitted to the queue before is done.
    pub const fn drain(record: u64) -> Self {
        Self::new(Opcode::Drain, Flags::WITH_RECORD, record)
    }

    /// The flags.
    pub const fn flags(&self) -> Flags {
        Flags::from_bits(self.control)
    }

    /// The number of the opcode.
    pub const fn opcode(&self) -> u8 {
        (self.control >> 24) as u8
    }

    /// The same descriptor with other flags.
    #[must_use]
    pub const fn with_flags(mut self, flags: Flags) -> Self {
        self.control = self.control & 0xff00_0000 | flags.0;
        self
    }

    /// The same descriptor with another opcode, known or not.
    #[must_use]
    pub const fn with_opcode(mut self, opcode: u8) -> Self {
        self.control = self.control & 0x00ff_ffff | (opcode as u32) << 24;
        self
    }
}

impl Default for Descriptor {
    fn default() -> Self {
        Self::new(Opcode::Noop, Flags::NONE, 0)
    }
}
