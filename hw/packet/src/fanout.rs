//! Sharing an interface's packets among several sockets: a fanout group (packet(7)) whose members are
//! chosen by a program of classic BPF (`linux/filter.h`), the same for every packet of a flow.
//!
//! The program computes [`dataplane::steering::by_ports`] of a TCP packet and 0 for everything else,
//! so a worker knows beforehand to which socket a packet will go. The kernel runs it on received
//! packets from their network header on (`fanout_demux_bpf` in `net/packet/af_packet.c`; a filter of
//! the socket sees the Ethernet header first), after it has stripped a VLAN tag.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use dataplane::steering::PORT_MIX;
use libc::{
    BPF_A, BPF_ABS, BPF_ADD, BPF_ALU, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ, BPF_JMP,
    BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_MEM, BPF_MSH, BPF_MUL, BPF_RET, BPF_RSH, BPF_ST, BPF_W,
    BPF_X, sock_filter,
};

use crate::error::Error;
use crate::socket::PacketSocket;

/// Where a load finds the packet's EtherType instead of its bytes.
const PROTOCOL: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL) as u32;

const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const TCP: u32 = 6;
/// "More fragments" and the offset, in bytes 6 and 7 of an IPv4 header (RFC 791 section 3.1).
const FRAGMENT: u32 = 0x3fff;

/// Skips `yes` instructions when the condition holds, else `no`.
fn jump(condition: u32, k: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter {
        code: (BPF_JMP | condition) as u16,
        jt: yes,
        jf: no,
        k,
    }
}

fn op(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// The program for `queues` sockets. The number in front counts instructions; those that go to 22
/// give up: queue 0. So does a load from beyond the packet's end.
fn program(queues: u16) -> [sock_filter; 23] {
    [
        /*  0 */ op(BPF_LD | BPF_W | BPF_ABS, PROTOCOL),
        /*  1 */ jump(BPF_JEQ, IPV4, 0, 6), //      else to 8
        /*  2 */ op(BPF_LD | BPF_B | BPF_ABS, 9), // A = protocol
        /*  3 */ jump(BPF_JEQ, TCP, 0, 18), //      else to 22
        /*  4 */ op(BPF_LD | BPF_H | BPF_ABS, 6), // A = flags and fragment offset
        /*  5 */ jump(BPF_JSET, FRAGMENT, 16, 0), // to 22
        /*  6 */ op(BPF_LDX | BPF_B | BPF_MSH, 0), // X = length of the IPv4 header
        /*  7 */ op(BPF_JMP | BPF_JA, 4), //         to 12
        /*  8 */ jump(BPF_JEQ, IPV6, 0, 13), //     else to 22
        /*  9 */ op(BPF_LD | BPF_B | BPF_ABS, 6), // A = next header
        /* 10 */ jump(BPF_JEQ, TCP, 0, 11), //      else to 22
        /* 11 */ op(BPF_LDX | BPF_W | BPF_IMM, 40),
        /* 12 */ op(BPF_LD | BPF_H | BPF_IND, 2), // A = destination port
        /* 13 */ op(BPF_ST, 0),
        /* 14 */ op(BPF_LD | BPF_H | BPF_IND, 0), // A = source port
        /* 15 */ op(BPF_LDX | BPF_W | BPF_MEM, 0),
        /* 16 */ op(BPF_ALU | BPF_ADD | BPF_X, 0),
        /* 17 */ op(BPF_ALU | BPF_MUL | BPF_K, PORT_MIX),
        /* 18 */ op(BPF_ALU | BPF_RSH | BPF_K, 16),
        /* 19 */ op(BPF_ALU | BPF_MUL | BPF_K, u32::from(queues)),
        /* 20 */ op(BPF_ALU | BPF_RSH | BPF_K, 16),
        /* 21 */ op(BPF_RET | BPF_A, 0),
        /* 22 */ op(BPF_RET | BPF_K, 0),
    ]
}

/// The kernel's description of a program. Valid as long as the slice.
fn described(program: &mut [sock_filter]) -> libc::sock_fprog {
    libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    }
}

impl PacketSocket {
    /// Makes a group of the sockets, in their order. All must be muted, and are when this returns.
    pub(crate) fn share(sockets: &[Self]) -> Result<(), Error> {
        let mut group = None;
        for socket in sockets {
            let id = socket.join(group)?;
            if group.is_none() {
                // The program is the group's; whichever member brings it.
                let mut program = program(sockets.len() as u16);
                let program = described(&mut program);
                socket
                    .set_option(libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, &program)
                    .map_err(|e| socket.refused("choose the queue of a packet", e))?;
            }
            group = Some(id);
        }
        Ok(())
    }

    /// Joins `group`, or founds one under an id that nobody uses. Returns the group's id.
    ///
    /// What leaves the interface is not received: kernels before 6.2 do not know that flag and let it
    /// pass, which costs the receiver a look at the packet's address.
    fn join(&self, group: Option<u16>) -> Result<u16, Error> {
        let kind = libc::PACKET_FANOUT_CBPF | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
        let value = match group {
            Some(id) => u32::from(id) | kind << 16,
            None => (kind | libc::PACKET_FANOUT_FLAG_UNIQUEID) << 16,
        };
        self.set_option(libc::SOL_PACKET, libc::PACKET_FANOUT, &value)
            .map_err(|e| self.refused("share it among queues", e))?;
        let mut joined: u32 = 0;
        let mut len = size_of::<u32>() as libc::socklen_t;
        // SAFETY: both pointers are to live variables, and `len` is the size of the first.
        let result = unsafe {
            libc::getsockopt(
                self.as_fd().as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_FANOUT,
                (&raw mut joined).cast(),
                &raw mut len,
            )
        };
        if result < 0 {
            return Err(Error::last_os(self.interface(), "read the fanout group"));
        }
        Ok((joined & 0xffff) as u16)
    }

    /// Lets nothing be received, by a filter that accepts no packet. Between being bound and
    /// joining its group, and for packets under way even a little longer, a socket is offered
    /// every packet of the interface; without the filter it would hand out what belongs to others.
    pub(crate) fn mute(&self) -> Result<(), Error> {
        let mut accept_nothing = [op(BPF_RET | BPF_K, 0)];
        let program = described(&mut accept_nothing);
        self.set_option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
            .map_err(|e| self.refused("filter packets", e))
    }

    /// Undoes [`Self::mute`].
    pub(crate) fn unmute(&self) -> Result<(), Error> {
        self.set_option(libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0_i32)
            .map_err(|e| self.refused("stop filtering packets", e))
    }

    fn refused(&self, doing: &'static str, source: std::io::Error) -> Error {
        Error::from_os(self.interface(), doing, source)
    }
}

#[cfg(test)]
mod tests {
    use dataplane::steering::by_ports;

    use super::*;

    /// What the program returns for a packet, from its network header on. Knows the instructions
    /// that are used here, and no others.
    fn interpret(program: &[sock_filter], protocol: u32, packet: &[u8]) -> u32 {
        let (mut a, mut x, mut memory, mut at) = (0u32, 0u32, 0u32, 0);
        let load = |offset: u32, len: u32| {
            let bytes = packet.get(offset as usize..(offset + len) as usize)?;
            Some(
                bytes
                    .iter()
                    .fold(0, |word, byte| word << 8 | u32::from(*byte)),
            )
        };
        loop {
            let op = &program[at];
            at += 1;
            let loaded = match u32::from(op.code) {
                0x20 if op.k == PROTOCOL => Some(protocol),
                0x30 => load(op.k, 1),
                0x28 => load(op.k, 2),
                0x48 => load(x + op.k, 2),
                0xb1 => {
                    let Some(byte) = load(op.k, 1) else { return 0 };
                    x = (byte & 15) * 4;
                    continue;
                }
                0x01 => {
                    x = op.k;
                    continue;
                }
                0x61 => {
                    x = memory;
                    continue;
                }
                0x02 => {
                    memory = a;
                    continue;
                }
                0x05 => {
                    at += op.k as usize;
                    continue;
                }
                0x15 | 0x45 => {
                    let holds = if op.code == 0x15 {
                        a == op.k
                    } else {
                        a & op.k != 0
                    };
                    at += usize::from(if holds { op.jt } else { op.jf });
                    continue;
                }
                0x0c => Some(a.wrapping_add(x)),
                0x24 => Some(a.wrapping_mul(op.k)),
                0x74 => Some(a >> op.k),
                0x16 => return a,
                0x06 => return op.k,
                other => panic!("instruction {other:#x}"),
            };
            match loaded {
                Some(value) => a = value,
                None => return 0,
            }
        }
    }

    fn ports(source: u16, destination: u16) -> Vec<u8> {
        let mut tcp = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        tcp.resize(20, 0);
        tcp
    }

    fn v4(words: u8, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut ip = vec![0; usize::from(words) * 4];
        ip[0] = 0x40 | words;
        ip[6..8].copy_from_slice(&fragment.to_be_bytes());
        ip[9] = protocol;
        [&ip[..], payload].concat()
    }

    fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut ip = [0; 40];
        (ip[0], ip[6]) = (0x60, next);
        [&ip[..], payload].concat()
    }

    #[test]
    fn it_computes_what_the_engine_computes() {
        for queues in [2, 3, 7, 128] {
            let program = program(queues);
            for i in 0..5_000u16 {
                let (source, destination) = (i.wrapping_mul(40_503), i.wrapping_mul(7_919) ^ 8080);
                let tcp = ports(source, destination);
                let expected = u32::from(by_ports(source, destination, queues).0);
                for words in [5, 6, 15] {
                    let packet = v4(words, 6, 0x4000, &tcp);
                    assert_eq!(interpret(&program, IPV4, &packet), expected);
                }
                assert_eq!(interpret(&program, IPV6, &v6(6, &tcp)), expected);
            }
        }
    }

    #[test]
    fn everything_else_goes_to_queue_0() {
        let program = program(2);
        // Ports that would be queue 1's.
        let port = (1..).find(|&port| by_ports(port, 80, 2).0 == 1).unwrap();
        let tcp = ports(port, 80);
        let cases: [(&str, u32, Vec<u8>, u32); 9] = [
            ("TCP", IPV4, v4(5, 6, 0x4000, &tcp), 1),
            ("UDP", IPV4, v4(5, 17, 0, &tcp), 0),
            ("first fragment", IPV4, v4(5, 6, 0x2000, &tcp), 0),
            ("later fragment", IPV4, v4(5, 6, 100, &tcp), 0),
            ("cut short", IPV4, v4(5, 6, 0, &tcp[..3]), 0),
            ("TCP over IPv6", IPV6, v6(6, &tcp), 1),
            ("ICMPv6", IPV6, v6(58, &tcp), 0),
            ("extension header", IPV6, v6(0, &tcp), 0),
            ("ARP", 0x0806, v4(5, 6, 0, &tcp), 0),
        ];
        for (what, protocol, packet, expected) in cases {
            assert_eq!(interpret(&program, protocol, &packet), expected, "{what}");
        }
    }
}
