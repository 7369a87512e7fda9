//! What the device refuses before it does anything.

use dsa::{Descriptor, Flags, Opcode, Status};

use crate::Config;

/// Where a descriptor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Submitted by itself.
    Alone,
    /// In a list.
    InBatch,
}

/// `IDXD_OP_FLAG_RCI`: request completion interrupt.
const INTERRUPT: u32 = 0x10;
/// Traffic classes of the three addresses and the record, and the ordering of writes.
const TRAFFIC: u32 = 0x0200 | 0x0400 | 0x0800 | 0x1000 | 0x2000 | 0x4000 | 0x8000;

fn allowed(opcode: Opcode, place: Place) -> u32 {
    let always = Flags::WITH_RECORD.bits() | INTERRUPT | TRAFFIC;
    let fence = match place {
        Place::Alone => 0,
        Place::InBatch => Flags::FENCE.bits(),
    };
    match opcode {
        Opcode::Batch => always,
        Opcode::Noop | Opcode::Drain => always | fence,
        _ => always | fence | Flags::BLOCK_ON_FAULT.bits() | Flags::CACHE_CONTROL.bits(),
    }
}

/// Opcodes that this device has.
fn supported(opcode: u8, place: Place) -> Option<Opcode> {
    let opcode = Opcode::from_bits(opcode)?;
    match opcode {
        Opcode::Noop | Opcode::Memmove | Opcode::Fill => Some(opcode),
        // No batches in batches; a drain there would wait for itself.
        Opcode::Batch | Opcode::Drain => (place == Place::Alone).then_some(opcode),
        _ => None,
    }
}

/// Status and detail of the first check that fails; `None`: it may be carried out. The checks come
/// in the order of `order`, a permutation of 0 to 4.
pub fn check(
    descriptor: &Descriptor,
    place: Place,
    config: &Config,
    order: [u8; 5],
) -> Option<(Status, u32)> {
    let opcode = supported(descriptor.opcode(), place);
    order.into_iter().find_map(|which| {
        let Some(opcode) = opcode else {
            // Nothing else can be said about it.
            return Some((Status::BadOpcode, 0));
        };
        match which {
            0 => {
                let invalid = descriptor.flags().bits() & !allowed(opcode, place);
                (invalid != 0).then_some((Status::BadFlags, invalid))
            }
            1 => {
                let quiet = matches!(opcode, Opcode::Noop | Opcode::Batch | Opcode::Memmove);
                let zero = descriptor.reserved == 0
                    && descriptor.pasid & 0x7ff0_0000 == 0
                    && (!quiet || descriptor.specific == [0; 3])
                    && (opcode != Opcode::Noop || descriptor.size == 0);
                (!zero).then_some((Status::ReservedField, 0))
            }
            2 => {
                let moves = matches!(opcode, Opcode::Memmove | Opcode::Fill);
                let fits = (1..=config.max_transfer).contains(&u64::from(descriptor.size));
                (moves && !fits).then_some((Status::BadSize, 0))
            }
            3 => {
                let fits = (config.min_batch..=config.max_batch).contains(&descriptor.size);
                (opcode == Opcode::Batch && !fits).then_some((Status::BadCount, 0))
            }
            _ => {
                let misaligned = !descriptor.source.is_multiple_of(64);
                (opcode == Opcode::Batch && misaligned).then_some((Status::ListMisaligned, 0))
            }
        }
    })
}
