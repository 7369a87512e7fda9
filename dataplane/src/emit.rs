//! From smoltcp's packet of filler to a frame for the wire: Ethernet header, the true payload's
//! pieces, checksums as the port wants them.

use crate::checksum::{Sum, pseudo_header};
use crate::classify::{ETHERNET, TcpFlags};
use crate::port::{Frame, MAX_HEADER, Piece, Port, TxError, TxHeader, TxOffload};
use crate::tcp::Emitted;

/// The headers of a packet that is being put together.
#[derive(Debug)]
pub struct Headers {
    bytes: [u8; MAX_HEADER],
    len: usize,
    ipv6: bool,
    l3_len: usize,
    /// Bytes of the TCP header; 0 when the packet is not TCP.
    l4_len: usize,
}

impl Headers {
    /// Takes the headers of the IP packet `packet` that smoltcp has sent. For TCP these end with
    /// the TCP header; of anything else only the IP header is taken.
    pub fn new(packet: &[u8], source: [u8; 6], target: [u8; 6]) -> Self {
        let ipv6 = packet[0] >> 4 == 6;
        let (l3_len, protocol) = if ipv6 {
            (40, packet[6])
        } else {
            (usize::from(packet[0] & 0x0f) * 4, packet[9])
        };
        let l4_len = if protocol == 6 {
            usize::from(packet[l3_len + 12] >> 4) * 4
        } else {
            0
        };
        let mut bytes = [0; MAX_HEADER];
        bytes[0..6].copy_from_slice(&target);
        bytes[6..12].copy_from_slice(&source);
        bytes[12..14].copy_from_slice(if ipv6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
        let len = ETHERNET + l3_len + l4_len;
        bytes[ETHERNET..len].copy_from_slice(&packet[..l3_len + l4_len]);
        let mut headers = Self {
            bytes,
            len,
            ipv6,
            l3_len,
            l4_len,
        };
        if headers.is_tcp() && !headers.syn() {
            headers.hold_window_back();
        }
        headers
    }

    /// Offers one unit of the window scale less than smoltcp does.
    ///
    /// The window on the wire is rounded down to a unit of 2^scale bytes, so while nobody reads, its
    /// end moves back by up to a unit less one byte with each acknowledgement. What was sent up to an
    /// end that was once offered must be accepted (RFC 7323 section 2.4), but smoltcp cuts it off at
    /// the end it has offered last. The few bytes are then missing for a time-out of a second, with
    /// all that the sender sent behind them. The true end (the ring's) never moves back, and what
    /// smoltcp accepts lies less than a unit before it: an end a whole unit before it is always
    /// honoured. (The window of a SYN is not scaled.)
    fn hold_window_back(&mut self) {
        let at = ETHERNET + self.l3_len + 14;
        let window = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        self.bytes[at..at + 2].copy_from_slice(&window.saturating_sub(1).to_be_bytes());
    }

    /// True when the packet is a TCP segment.
    pub fn is_tcp(&self) -> bool {
        self.l4_len != 0
    }

    /// Bytes of the IP and TCP header.
    pub fn ip_len(&self) -> usize {
        self.l3_len + self.l4_len
    }

    /// The sequence number.
    pub fn seq(&self) -> u32 {
        let at = ETHERNET + self.l3_len + 4;
        u32::from_be_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }

    /// Whether SYN is set.
    pub fn syn(&self) -> bool {
        self.bytes[ETHERNET + self.l3_len + 13] & crate::classify::TcpFlags::SYN != 0
    }

    /// Completes a TCP segment with its payload and queues it on `port`: as one packet, or, with more
    /// pieces than the port takes in one, as several that follow one another in the stream.
    ///
    /// # Errors
    /// [`TxError::Full`] when the port has no room, for all of it or for the last packets.
    pub fn send<'f, P: Port>(
        self,
        port: &mut P,
        emitted: Emitted,
        payload: impl Iterator<Item = Piece<'f, P::Frame>> + Clone,
    ) -> Result<(), TxError>
    where
        P::Frame: Frame + 'f,
    {
        let most = port.caps().max_pieces.max(1);
        if payload.clone().nth(most).is_none() {
            return self.send_whole(port, emitted, payload);
        }
        let (mut sent, mut pieces) = (0, payload);
        let all = emitted.len - self.ip_len();
        while sent < all {
            let mut rest = pieces.clone();
            let part = pieces.take(most);
            let len: usize = part.clone().map(|piece| piece.len as usize).sum();
            self.part(sent as u32, len, sent + len == all).send_whole(
                port,
                Emitted {
                    len: self.ip_len() + len,
                    // A packet of one segment is not cut.
                    segment_size: emitted.segment_size
                        * u16::from(len > usize::from(emitted.segment_size)),
                },
                part,
            )?;
            let _ = rest.nth(most - 1);
            (sent, pieces) = (sent + len, rest);
        }
        Ok(())
    }

    /// The headers of a part of a segment: `len` bytes from byte `skip` of its payload on. What asks
    /// for the receiver's attention (FIN, PSH) comes with the last.
    fn part(&self, skip: u32, len: usize, last: bool) -> Self {
        let Self { mut bytes, .. } = *self;
        let l4 = ETHERNET + self.l3_len;
        let seq = self.seq().wrapping_add(skip);
        bytes[l4 + 4..l4 + 8].copy_from_slice(&seq.to_be_bytes());
        if !last {
            bytes[l4 + 13] &= !(TcpFlags::FIN | TcpFlags::PSH);
        }
        let l4_len = (self.l4_len + len) as u16;
        if self.ipv6 {
            bytes[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&l4_len.to_be_bytes());
        } else {
            let total = self.l3_len as u16 + l4_len;
            bytes[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&total.to_be_bytes());
            bytes[ETHERNET + 10..ETHERNET + 12].fill(0);
            let mut sum = Sum::default();
            sum.add(&bytes[ETHERNET..l4]);
            bytes[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&(!sum.folded()).to_be_bytes());
        }
        Self { bytes, ..*self }
    }

    fn send_whole<'f, P: Port>(
        mut self,
        port: &mut P,
        emitted: Emitted,
        payload: impl Iterator<Item = Piece<'f, P::Frame>> + Clone,
    ) -> Result<(), TxError>
    where
        P::Frame: Frame + 'f,
    {
        let offload = port.caps().tx_tcp_checksum;
        let l4 = ETHERNET + self.l3_len;
        let mut sum = pseudo_header(
            &self.bytes[ETHERNET..],
            self.ipv6,
            (emitted.len - self.l3_len) as u32,
        );
        let checksum = if offload {
            sum.folded()
        } else {
            sum.add(&self.bytes[l4..self.len]);
            sum.add_pieces(payload.clone());
            !sum.folded()
        };
        self.bytes[l4 + 16..l4 + 18].copy_from_slice(&checksum.to_be_bytes());
        let header = TxHeader {
            bytes: &self.bytes[..self.len],
            offload: TxOffload {
                tcp_checksum: offload,
                segment_size: emitted.segment_size,
                ipv6: self.ipv6,
                l3_len: self.l3_len as u8,
                l4_len: self.l4_len as u8,
            },
        };
        port.tx_push(&header, payload)
    }

    /// Queues a packet that is not TCP: the Ethernet and IP header, and `body` with what is behind.
    ///
    /// # Errors
    /// [`TxError::Full`] when the port has no room.
    pub fn send_control<P: Port>(
        self,
        port: &mut P,
        body: Option<&P::Frame>,
    ) -> Result<(), TxError> {
        let header = TxHeader {
            bytes: &self.bytes[..self.len],
            offload: TxOffload {
                ipv6: self.ipv6,
                l3_len: self.l3_len as u8,
                ..TxOffload::default()
            },
        };
        port.tx_push(
            &header,
            body.into_iter().map(|frame| Piece {
                frame,
                offset: 0,
                len: frame.data().len() as u32,
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The window that goes out in a segment for which smoltcp says `window`.
    fn offered(flags: u8, window: u16) -> u16 {
        let mut packet = [0; 40];
        (packet[0], packet[9]) = (0x45, 6);
        (packet[32], packet[33]) = (5 << 4, flags);
        packet[34..36].copy_from_slice(&window.to_be_bytes());
        let headers = Headers::new(&packet, [1; 6], [2; 6]);
        u16::from_be_bytes([headers.bytes[48], headers.bytes[49]])
    }

    #[test]
    fn one_unit_of_the_window_is_held_back() {
        const ACK: u8 = 0x10;
        const SYN: u8 = 0x02;
        assert_eq!(offered(ACK, 1000), 999);
        assert_eq!(offered(ACK, 0), 0);
        assert_eq!(offered(SYN, 65_535), 65_535);
        assert_eq!(offered(SYN | ACK, 65_535), 65_535);
    }

    /// Why a unit is enough: whatever arrives, an end that was offered is never after one that
    /// smoltcp accepts later.
    #[test]
    fn an_offered_end_stays_within_what_is_accepted() {
        const RING: u32 = 131_072;
        for scale in 0..8 {
            let mut most_offered = 0;
            let mut received = 0;
            for arrived in [65_495, 3, 1, 65_000, 82, 400, 90, 1].into_iter().cycle() {
                // Nobody reads: the true end is the ring's.
                let units = ((RING - received) >> scale).min(0xffff);
                assert!(most_offered <= received + (units << scale));
                most_offered = most_offered.max(received + (units.saturating_sub(1) << scale));
                if received + arrived > most_offered {
                    break;
                }
                received += arrived;
            }
        }
    }
}
