//! The instructions of a processor that does not have them.
//!
//! MOVDIR64B and ENQCMD raise SIGILL there. The handler installed here takes such an instruction
//! apart, hands the 64 bytes it would write to the model whose portal the address lies in, sets the
//! flags, and goes on behind the instruction: the driver above does not notice. It costs microseconds
//! and shows correctness, nothing else.
//!
//! The signal is raised by the instruction itself, so the handler runs at a place that is known: the
//! code around it holds no lock of the model's, and the handler may lock and allocate.

use std::mem::MaybeUninit;
use std::sync::{OnceLock, PoisonError, RwLock};

use dsa::Descriptor;
use dsa::chardev::PORTAL;
use dsa::instruction::Accepted;

use crate::{Instruction, Model, memory};

/// Portals by the address of their page.
static PORTALS: RwLock<Vec<(usize, Model)>> = RwLock::new(Vec::new());

/// Asked for the model of a page that is not known.
type Resolver = fn(usize) -> Option<Model>;
static RESOLVER: OnceLock<Resolver> = OnceLock::new();

/// Says whose portal the page at `page` is.
pub fn register(page: usize, model: Model) {
    let mut portals = PORTALS.write().unwrap_or_else(PoisonError::into_inner);
    portals.retain(|&(other, _)| other != page);
    portals.push((page, model));
}

/// The page is no portal any more. Returns whose it was.
pub fn forget(page: usize) -> Option<Model> {
    let mut portals = PORTALS.write().unwrap_or_else(PoisonError::into_inner);
    let at = portals.iter().position(|&(other, _)| other == page)?;
    Some(portals.swap_remove(at).1)
}

/// Says who knows pages that were not registered. Only the first call counts.
pub fn set_resolver(resolver: Resolver) {
    let _first = RESOLVER.set(resolver);
}

fn find(address: usize) -> Option<Model> {
    let page = address & !(PORTAL - 1);
    {
        let portals = PORTALS.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, model)) = portals.iter().find(|&&(other, _)| other == page) {
            return Some(model.clone());
        }
    }
    let model = RESOLVER.get()?(page)?;
    register(page, model.clone());
    Some(model)
}

/// Catches the instructions from now on, in the whole process. SIGILL for any other cause ends it as
/// before.
///
/// # Errors
/// What sigaction(2) says.
pub fn install() -> std::io::Result<()> {
    // SAFETY: all zeros is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_sigill as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: `on_sigill` is a handler of the kind that SA_SIGINFO says.
    let installed =
        unsafe { libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut()) };
    if installed == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// General registers by their numbers in instructions.
const REGISTERS: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Carry, parity, auxiliary, zero, sign, overflow.
const FLAGS: i64 = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x800;
const ZERO_FLAG: i64 = 0x40;

extern "C" fn on_sigill(_signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes the interrupted thread's ucontext_t, which the handler may change.
    let general = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let at = general[libc::REG_RIP as usize] as u64;
    let registers = REGISTERS.map(|register| general[register as usize] as u64);
    // The longest instruction has 15 bytes; the page behind a shorter one may be missing.
    let mut bytes = [0; 15];
    let have = memory::peek(at, &mut bytes);
    let bytes = &bytes[..have];
    let found = decode(bytes, &registers, at)
        .and_then(|trapped| find(trapped.portal as usize).map(|model| (trapped, model)));
    let Some((trapped, model)) = found else {
        // SAFETY: restoring the default is always allowed; the instruction runs again and ends the
        // process as it would have without us.
        let _previous = unsafe { libc::signal(libc::SIGILL, libc::SIG_DFL) };
        return;
    };
    let mut descriptor = MaybeUninit::<Descriptor>::uninit();
    // SAFETY: the instruction would read 64 bytes there, at any alignment; all values are valid.
    let descriptor = unsafe {
        let from = std::ptr::with_exposed_provenance::<u8>(trapped.source as usize);
        from.copy_to_nonoverlapping(descriptor.as_mut_ptr().cast(), 64);
        descriptor.assume_init()
    };
    let answer = model.gate().submit(trapped.instruction, descriptor);
    if trapped.instruction == Instruction::Enqcmd {
        let flags = &mut general[libc::REG_EFL as usize];
        *flags &= !FLAGS;
        if answer == Accepted::Retry {
            *flags |= ZERO_FLAG;
        }
    }
    general[libc::REG_RIP as usize] += trapped.len as i64;
}

/// An instruction taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trapped {
    /// Which.
    pub instruction: Instruction,
    /// Address that would be written to.
    pub portal: u64,
    /// Address of the 64 bytes.
    pub source: u64,
    /// Bytes of the instruction.
    pub len: usize,
}

/// Takes apart MOVDIR64B (`66 0F 38 F8 /r`) or ENQCMD (`F2 0F 38 F8 /r`); `None` for anything else.
/// `registers` are RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15, `at` the address of the
/// instruction.
pub fn decode(bytes: &[u8], registers: &[u64; 16], at: u64) -> Option<Trapped> {
    let mut position = 0;
    let mut next = || {
        let byte = bytes.get(position).copied();
        position += 1;
        byte
    };
    let (mut instruction, mut rex) = (None, 0);
    let first = loop {
        match next()? {
            0x66 if instruction.is_none() => instruction = Some(Instruction::Movdir64b),
            0x66 => {}
            0xf2 => instruction = Some(Instruction::Enqcmd),
            byte @ 0x40..=0x4f => {
                rex = byte;
                break next()?;
            }
            byte => break byte,
        }
    };
    let instruction = instruction?;
    if [first, next()?, next()?] != [0x0f, 0x38, 0xf8] {
        return None;
    }
    let modrm = next()?;
    let (kind, reg, rm) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
    let extended = |number: u8, bit: u8| usize::from(number | (rex >> bit & 1) << 3);
    if kind == 3 {
        return None;
    }
    let portal = registers[extended(reg, 2)];
    let mut address = 0_u64;
    let mut wide = kind == 2;
    let mut relative = false;
    if rm == 4 {
        let sib = next()?;
        let (scale, index, base) = (sib >> 6, extended(sib >> 3 & 7, 1), sib & 7);
        if index != 4 {
            address = registers[index] << scale;
        }
        if base == 5 && kind == 0 {
            wide = true;
        } else {
            address = address.wrapping_add(registers[extended(base, 0)]);
        }
    } else if rm == 5 && kind == 0 {
        (wide, relative) = (true, true);
    } else {
        address = registers[extended(rm, 0)];
    }
    let displacement = if wide {
        i64::from(i32::from_le_bytes([next()?, next()?, next()?, next()?]))
    } else if kind == 1 {
        i64::from(next()? as i8)
    } else {
        0
    };
    if relative {
        address = at.wrapping_add(position as u64);
    }
    Some(Trapped {
        instruction,
        portal,
        source: address.wrapping_add_signed(displacement),
        len: position,
    })
}
