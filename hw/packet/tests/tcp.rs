//! The port against the kernel's TCP: a connection served by hand, bulk data both ways.
mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use common::lab::{Lab, PEER, PORT, run};
use common::pool::{HeapFrame, HeapPool};
use common::wire;
use dataplane::port::{Frame, Piece, Port, RxBurst, RxChecksum, TxHeader};
use packet::{Options, PacketPort};

const OUR_IP: [u8; 4] = [10, 0, 0, 1];
const BYTES: usize = 2_000_000;
const MSS: u16 = 1400;

const SYN: u8 = 2;
const ACK: u8 = 16;

/// The server's end of one connection: enough TCP for a wire that loses nothing.
struct Server {
    port: PacketPort<HeapPool>,
    peer_mac: [u8; 6],
    peer_ip: [u8; 4],
    peer_port: [u8; 2],
    /// Our next sequence number and the next we expect.
    seq: u32,
    ack: u32,
    /// The oldest of ours that is not acknowledged, and the peer's window.
    acked: u32,
    window: u32,
    /// What has been received and not echoed: frames and the part of them that is payload.
    unsent: Vec<(HeapFrame, usize, usize)>,
    received: Vec<u8>,
    largest: usize,
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

impl Server {
    /// Headers of a segment from us, the checksum left to the device.
    fn headers(&self, flags: u8, payload: usize, options: &[u8]) -> Vec<u8> {
        let tcp_len = 20 + options.len();
        let mut ip = vec![0x45, 0];
        ip.extend_from_slice(&((20 + tcp_len + payload) as u16).to_be_bytes());
        ip.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
        ip.extend_from_slice(&OUR_IP);
        ip.extend_from_slice(&self.peer_ip);
        let sum = !wire::sum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut tcp = vec![0, 80];
        tcp.extend_from_slice(&self.peer_port);
        tcp.extend_from_slice(&self.seq.to_be_bytes());
        tcp.extend_from_slice(&self.ack.to_be_bytes());
        tcp.extend_from_slice(&[(tcp_len as u8 / 4) << 4, flags, 0xff, 0xff]);
        let sum = wire::pseudo_sum(&OUR_IP, &self.peer_ip, tcp_len + payload);
        tcp.extend_from_slice(&sum.to_be_bytes());
        tcp.extend_from_slice(&[0, 0]);
        tcp.extend_from_slice(options);
        [
            &self.peer_mac[..],
            &self.port.caps().mac,
            &[8, 0],
            &ip,
            &tcp,
        ]
        .concat()
    }

    fn send(&mut self, flags: u8, options: &[u8], frames: &[(HeapFrame, usize, usize)]) {
        let payload: usize = frames.iter().map(|(_, from, to)| to - from).sum();
        let headers = self.headers(flags, payload, options);
        let mut offload = wire::offload(MSS, false);
        offload.l4_len += options.len() as u8;
        let header = TxHeader {
            bytes: &headers,
            offload,
        };
        let pieces = frames.iter().map(|(frame, from, to)| Piece {
            frame,
            offset: *from as u32,
            len: (to - from) as u32,
        });
        self.port.tx_push(&header, pieces).expect("room");
        self.seq = self.seq.wrapping_add(payload as u32);
    }

    fn arp(&mut self, packet: &[u8]) {
        if packet[20..22] != [0, 1] || packet[38..42] != OUR_IP {
            return;
        }
        let mac = self.port.caps().mac;
        let asker = &packet[22..32];
        let reply = [
            &packet[6..12],
            &mac,
            &[8, 6],
            &packet[14..20],
            &[0, 2],
            &mac,
            &OUR_IP,
            asker,
        ];
        let reply = reply.concat();
        self.port
            .tx_push(&wire::bare(&reply), std::iter::empty())
            .expect("room");
    }

    fn segment(&mut self, frames: &[HeapFrame], checksum: RxChecksum) {
        let packet = frames[0].data();
        let l4 = 14 + usize::from(packet[14] & 15) * 4;
        let len = 14 + usize::from(u16::from_be_bytes([packet[16], packet[17]]));
        let data = l4 + usize::from(packet[l4 + 12] >> 4) * 4;
        assert_eq!(
            checksum,
            RxChecksum::Good,
            "the peer is in this machine's memory"
        );
        let flags = packet[l4 + 13];
        let seq = be32(&packet[l4 + 4..]);
        if flags & SYN != 0 {
            self.peer_mac = packet[6..12].try_into().expect("six bytes");
            self.peer_ip = packet[26..30].try_into().expect("four bytes");
            self.peer_port = packet[l4..l4 + 2].try_into().expect("two bytes");
            self.ack = seq.wrapping_add(1);
            let mss = MSS.to_be_bytes();
            self.send(SYN | ACK, &[2, 4, mss[0], mss[1]], &[]);
            self.seq = self.seq.wrapping_add(1);
            self.acked = self.seq;
            return;
        }
        self.acked = be32(&packet[l4 + 8..]);
        self.window = u16::from_be_bytes([packet[l4 + 14], packet[l4 + 15]]).into();
        // Packets shorter than Ethernet's least are padded on real wires; not on veth.
        if len == data || seq != self.ack {
            return;
        }
        self.largest = self.largest.max(len);
        let mut skip = data;
        for frame in frames {
            self.received.extend_from_slice(&frame.data()[skip..]);
            self.unsent.push((frame.clone(), skip, frame.data().len()));
            skip = 0;
        }
        self.ack = self.ack.wrapping_add((len - data) as u32);
        self.send(ACK, &[], &[]);
    }

    /// Sends what was received back, straight from the frames it came in, as far as the peer's
    /// window goes.
    fn echo(&mut self) {
        loop {
            let window =
                self.window
                    .saturating_sub(self.seq.wrapping_sub(self.acked)) as usize;
            let mut room = window.min(60_000);
            let mut count = 0;
            while let Some((_, from, to)) = self.unsent.get(count)
                && to - from <= room
                && count < self.port.caps().max_pieces
            {
                room -= to - from;
                count += 1;
            }
            if count == 0 {
                return;
            }
            let batch: Vec<_> = self.unsent.drain(..count).collect();
            self.send(ACK, &[], &batch);
        }
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // The kernel's end blocks, so it has a thread of its own.
fn the_kernel_gets_back_what_it_sent() {
    let Some(lab) = Lab::new(1500) else { return };
    run(&format!("ip addr add 10.0.0.2/24 dev {PEER}"));
    let pool = HeapPool::new(2_048, 2_048);
    let mut server = Server {
        port: lab.port(PORT, &pool, &Options::default()),
        peer_mac: [0; 6],
        peer_ip: [0; 4],
        peer_port: [0; 2],
        seq: 1_000,
        ack: 0,
        acked: 1_000,
        window: 0,
        unsent: Vec::new(),
        received: Vec::new(),
        largest: 0,
    };
    // The thread is born into this one's network namespace.
    let client = thread::spawn(|| {
        let mut stream = TcpStream::connect("10.0.0.1:80").expect("connects");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("sets");
        let mut sender = stream.try_clone().expect("clones");
        let writer = thread::spawn(move || sender.write_all(&wire::pattern(BYTES)));
        let mut back = vec![0; BYTES];
        stream.read_exact(&mut back).expect("all comes back");
        writer.join().expect("ends").expect("all sent");
        back
    });
    let mut burst = RxBurst::with_capacity(64);
    while !client.is_finished() {
        if server.port.rx_burst(&mut burst) == 0 {
            thread::sleep(Duration::from_micros(50));
        }
        let mut frames = burst.frames.drain(..);
        for packet in burst.packets.drain(..) {
            let frames: Vec<_> = frames.by_ref().take(packet.frames.into()).collect();
            match frames[0].data()[12..14] {
                [8, 6] => server.arp(frames[0].data()),
                [8, 0] => server.segment(&frames, packet.checksum),
                _ => {}
            }
        }
        drop(frames);
        server.echo();
        server.port.tx_flush();
    }
    let back = client.join().expect("client succeeds");
    let expected = wire::pattern(BYTES);
    assert!(server.received == expected, "what the kernel sent");
    assert!(back == expected, "what the kernel got back");
    assert!(
        server.largest > 10_000,
        "the kernel's super-segments arrive whole: the largest had {} bytes",
        server.largest
    );
    let stats = server.port.stats();
    assert_eq!(
        (
            stats.rx_errors,
            stats.rx_no_frame,
            stats.rx_missed,
            stats.tx_errors
        ),
        (0, 0, 0, 0)
    );
    drop(server);
    assert_eq!(pool.outstanding(), 0);
}
