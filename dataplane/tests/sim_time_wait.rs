//! SYNs for a connection that waits out TIME-WAIT, segment by segment.

mod sim_common;

use std::net::Ipv4Addr;

use dataplane::counters::{Counter, Drop};
use dataplane::sim::world::{CLIENTS, LISTEN};
use dataplane::sim::{End, Setup, World};
use sim_common::{AnyWorld, assert_settles, mover, packet};
use smoltcp::wire::{Ipv4Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

/// Not a request: it is answered, and the connection is closed.
const NONSENSE: &[u8] = b"nonsense\r\n\r\n";

/// A peer that says what it is told to.
struct Peer {
    world: AnyWorld,
}

/// A segment of the worker's.
#[derive(Debug)]
struct Answer {
    syn: bool,
    fin: bool,
    rst: bool,
    seq: u32,
    ack: u32,
    len: u32,
}

impl Peer {
    fn new() -> Self {
        Self {
            world: World::new(Setup::default(), mover(true)),
        }
    }

    /// Sends a segment, lets the worker have one turn, and returns what came of that.
    fn say(
        &mut self,
        control: TcpControl,
        seq: u32,
        ack: Option<u32>,
        payload: &[u8],
    ) -> Vec<Answer> {
        let bytes = segment(control, seq, ack, payload);
        self.world.wires[CLIENTS].send(End::Hosts, self.world.clock.now(), bytes);
        self.turn()
    }

    fn turn(&mut self) -> Vec<Answer> {
        let world = &mut self.world;
        world.clock.advance(world.clock.now() + 200);
        let _ = world.worker.turn(world.clock.now(), 0);
        world.clock.advance(world.clock.now() + 200);
        let mut answers = Vec::new();
        while let Some(bytes) = world.wires[CLIENTS].receive(End::Hosts, world.clock.now()) {
            if bytes[12..14] != [8, 0] {
                continue;
            }
            let ip = Ipv4Packet::new_checked(&bytes[14..]).expect("a whole packet");
            let tcp = TcpPacket::new_checked(ip.payload()).expect("a whole segment");
            answers.push(Answer {
                syn: tcp.syn(),
                fin: tcp.fin(),
                rst: tcp.rst(),
                seq: tcp.seq_number().0 as u32,
                ack: tcp.ack_number().0 as u32,
                len: tcp.payload().len() as u32,
            });
        }
        answers
    }

    /// A whole connection from `isn` on, until it is in TIME-WAIT. Returns what the worker is to see next.
    fn connect_and_leave(&mut self, isn: u32) -> u32 {
        let answers = self.say(TcpControl::Syn, isn, None, &[]);
        let [answer] = &answers[..] else {
            panic!("{answers:?}");
        };
        assert!(
            answer.syn && answer.ack == isn.wrapping_add(1),
            "{answer:?}"
        );
        self.ask_and_leave(isn, answer.seq)
    }

    /// The same after the worker's SYN.
    fn ask_and_leave(&mut self, isn: u32, theirs: u32) -> u32 {
        let next = isn.wrapping_add(1);
        let theirs = theirs.wrapping_add(1);
        let mut answers = self.say(TcpControl::Psh, next, Some(theirs), NONSENSE);
        answers.extend(self.turn());
        let said: u32 = answers.iter().map(|answer| answer.len).sum();
        assert!(said > 0 && answers.iter().any(|answer| answer.fin));
        let next = next.wrapping_add(NONSENSE.len() as u32);
        let theirs = theirs.wrapping_add(said + 1);
        let answers = self.say(TcpControl::Fin, next, Some(theirs), &[]);
        let [answer] = &answers[..] else {
            panic!("{answers:?}");
        };
        let next = next.wrapping_add(1);
        assert!(!answer.rst && answer.ack == next, "{answer:?}");
        assert_eq!(self.world.worker.connections(), 1);
        next
    }
}

fn segment(control: TcpControl, seq: u32, ack: Option<u32>, payload: &[u8]) -> Vec<u8> {
    let source = Ipv4Addr::new(10, 0, 200, 1);
    let tcp = TcpRepr {
        src_port: 1024,
        dst_port: LISTEN,
        control,
        seq_number: TcpSeqNumber(seq as i32),
        ack_number: ack.map(|ack| TcpSeqNumber(ack as i32)),
        window_len: 10_000,
        window_scale: None,
        max_seg_size: (control == TcpControl::Syn).then_some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    };
    packet(source, &tcp)
}

/// RFC 9293 section 3.10.7.4: a SYN beyond everything the old connection has seen begins a new one, at
/// once; any other does not.
#[test]
fn a_syn_takes_over_a_connection_in_time_wait_if_its_number_is_higher() {
    for isn in [1, 0x7fff_fff5, 0xffff_ff00, 0xffff_fff0, 0xffff_fffe] {
        // From the first number that the old connection has not seen.
        for (ahead, taken) in [
            (0, true),
            (1, true),
            (1 << 30, true),
            (i32::MAX, true),
            (-1, false),
            (-2, false),
            (-14, false),
            (-(1 << 30), false),
            (i32::MIN, false),
        ] {
            let what = format!("{isn:#x}, {ahead} ahead");
            let mut peer = Peer::new();
            let next = peer.connect_and_leave(isn);
            let syn = next.wrapping_add_signed(ahead);
            let answers = peer.say(TcpControl::Syn, syn, None, &[]);
            let synack = answers.iter().find(|answer| answer.syn);
            assert_eq!(synack.is_some(), taken, "{what}: {answers:?}");
            assert_eq!(peer.world.worker.connections(), 1, "{what}");
            if let Some(synack) = synack {
                assert_eq!(synack.ack, syn.wrapping_add(1), "{what}");
                let _ = peer.ask_and_leave(syn, synack.seq);
            } else {
                assert!(
                    answers.iter().all(|answer| !answer.rst),
                    "{what}: {answers:?}"
                );
                // It has not changed what comes next.
                let _ = peer.connect_and_leave(next);
            }
            let counters = peer.world.worker.counters();
            assert_eq!(counters[Counter::Accepted], 2, "{what}");
            assert_eq!(counters[Counter::ResetsSent], 0, "{what}");
            assert_eq!(counters[Drop::TcpUnknownFlow], 0, "{what}");
            assert_settles(&mut peer.world, &what);
        }
    }
}
