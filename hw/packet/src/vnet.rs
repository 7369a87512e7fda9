//! The virtio-net header that leads every packet on a `PACKET_VNET_HDR` socket.
//!
//! `struct virtio_net_hdr` of `linux/virtio_net.h`, 10 bytes, without `num_buffers`. AF_PACKET uses
//! the legacy layout: 16-bit fields are in the machine's own byte order.
//!
//! ```text
//! 0      1         2        4         6           8
//! flags  gso_type  hdr_len  gso_size  csum_start  csum_offset
//! ```

use dataplane::port::{RxChecksum, TxOffload};

/// Bytes of the header.
pub const LEN: usize = 10;

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;

/// Where the checksum field lies in a TCP header (RFC 9293 section 3.1).
const TCP_CHECKSUM_OFFSET: u16 = 16;

const FLAG_NEEDS_CSUM: u8 = 1;
const FLAG_DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// May be set beside a TCP type: the packet carries CWR, which only its first segment may keep.
const GSO_ECN: u8 = 0x80;

/// The state of a packet's L4 checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Checksum {
    /// Nothing is known about it.
    #[default]
    Unknown,
    /// The sending kernel or the device has verified it.
    Verified,
    /// The field holds the sum of the pseudo-header; the sum of the bytes from `start` on is still
    /// to be added. Sent: the device's work. Received: the packet was made on this machine and has
    /// been nowhere but in its memory.
    Partial {
        /// First summed byte, from the start of the Ethernet header.
        start: u16,
        /// Where the field lies, from `start`.
        offset: u16,
    },
}

/// Whether a packet stands for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Segmentation {
    /// The packet is what it is.
    #[default]
    None,
    /// TCP over IPv4, to be cut (or merged from segments).
    TcpV4 {
        /// TCP payload bytes of each segment.
        size: u16,
    },
    /// TCP over IPv6, likewise.
    TcpV6 {
        /// TCP payload bytes of each segment.
        size: u16,
    },
    /// A type the engine never sends (UDP).
    Other {
        /// `gso_type` as received.
        kind: u8,
        /// `gso_size` as received.
        size: u16,
    },
}

/// A decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct VnetHeader {
    /// State of the L4 checksum.
    pub checksum: Checksum,
    /// Whether the packet is a super-segment.
    pub segmentation: Segmentation,
    /// Bytes of all headers of a super-segment, Ethernet to TCP; a hint on reception.
    pub header_len: u16,
}

impl VnetHeader {
    /// The header for a packet to send: `packet_len` bytes from the Ethernet header on.
    ///
    /// A packet that fits one segment is sent as it is: the kernel refuses a super-segment that
    /// needs no cutting.
    pub fn for_transmission(offload: &TxOffload, packet_len: usize) -> Self {
        let l4_start = ETHERNET + usize::from(offload.l3_len);
        let header_len = l4_start + usize::from(offload.l4_len);
        let checksum = if offload.tcp_checksum {
            Checksum::Partial {
                start: l4_start as u16,
                offset: TCP_CHECKSUM_OFFSET,
            }
        } else {
            Checksum::Unknown
        };
        let size = offload.segment_size;
        if size == 0 || packet_len <= header_len + usize::from(size) {
            return Self {
                checksum,
                ..Self::default()
            };
        }
        debug_assert!(
            offload.tcp_checksum,
            "segments need their checksums computed"
        );
        Self {
            checksum,
            segmentation: if offload.ipv6 {
                Segmentation::TcpV6 { size }
            } else {
                Segmentation::TcpV4 { size }
            },
            header_len: header_len as u16,
        }
    }

    /// What the engine is told about a received packet's checksum.
    pub fn rx_checksum(&self) -> RxChecksum {
        match self.checksum {
            Checksum::Unknown => RxChecksum::Unverified,
            Checksum::Verified | Checksum::Partial { .. } => RxChecksum::Good,
        }
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; LEN] {
        let (flags, start, offset) = match self.checksum {
            Checksum::Unknown => (0, 0, 0),
            Checksum::Verified => (FLAG_DATA_VALID, 0, 0),
            Checksum::Partial { start, offset } => (FLAG_NEEDS_CSUM, start, offset),
        };
        let (kind, size) = match self.segmentation {
            Segmentation::None => (GSO_NONE, 0),
            Segmentation::TcpV4 { size } => (GSO_TCPV4, size),
            Segmentation::TcpV6 { size } => (GSO_TCPV6, size),
            Segmentation::Other { kind, size } => (kind, size),
        };
        let mut bytes = [0; LEN];
        bytes[0] = flags;
        bytes[1] = kind;
        bytes[2..4].copy_from_slice(&self.header_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&offset.to_ne_bytes());
        bytes
    }

    /// The header in `bytes`. Every value is accepted: flags nobody defined are ignored, as the
    /// virtio specification (5.1.6.4) asks of a driver.
    pub fn decode(bytes: &[u8; LEN]) -> Self {
        let field = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let checksum = if bytes[0] & FLAG_NEEDS_CSUM != 0 {
            Checksum::Partial {
                start: field(6),
                offset: field(8),
            }
        } else if bytes[0] & FLAG_DATA_VALID != 0 {
            Checksum::Verified
        } else {
            Checksum::Unknown
        };
        let size = field(4);
        let segmentation = match bytes[1] & !GSO_ECN {
            GSO_NONE => Segmentation::None,
            GSO_TCPV4 => Segmentation::TcpV4 { size },
            GSO_TCPV6 => Segmentation::TcpV6 { size },
            kind => Segmentation::Other { kind, size },
        };
        Self {
            checksum,
            segmentation,
            header_len: field(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(segment_size: u16, ipv6: bool) -> TxOffload {
        TxOffload {
            tcp_checksum: true,
            segment_size,
            ipv6,
            l3_len: if ipv6 { 40 } else { 20 },
            l4_len: 32,
        }
    }

    #[test]
    fn a_control_packet_has_an_all_zero_header() {
        let header = VnetHeader::for_transmission(&TxOffload::default(), 42);
        assert_eq!(header.encode(), [0; LEN]);
    }

    #[test]
    fn a_super_segment_names_its_parts_by_offset() {
        let bytes = VnetHeader::for_transmission(&tcp(1448, false), 60_000).encode();
        let mut expected = vec![1, 1];
        for field in [14 + 20 + 32, 1448, 34, 16_u16] {
            expected.extend_from_slice(&field.to_ne_bytes());
        }
        assert_eq!(bytes[..], expected[..]);
        let six = VnetHeader::for_transmission(&tcp(1428, true), 60_000);
        assert_eq!(six.encode()[1], 4);
        assert_eq!(six.header_len, 14 + 40 + 32);
        assert_eq!(
            six.checksum,
            Checksum::Partial {
                start: 54,
                offset: 16
            }
        );
    }

    #[test]
    fn what_fits_one_segment_is_not_cut() {
        let one = VnetHeader::for_transmission(&tcp(1448, false), 66 + 1448);
        assert_eq!(one.segmentation, Segmentation::None);
        assert!(matches!(one.checksum, Checksum::Partial { .. }));
        let two = VnetHeader::for_transmission(&tcp(1448, false), 66 + 1449);
        assert_eq!(two.segmentation, Segmentation::TcpV4 { size: 1448 });
    }

    #[test]
    fn every_flag_byte_decodes_to_what_may_be_trusted() {
        for flags in 0..=u8::MAX {
            let header = VnetHeader::decode(&[flags, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let expected = if flags & 3 == 0 {
                RxChecksum::Unverified
            } else {
                RxChecksum::Good
            };
            assert_eq!(header.rx_checksum(), expected, "flags {flags:#x}");
        }
    }

    #[test]
    fn decode_undoes_encode() {
        let checksums = [
            Checksum::Unknown,
            Checksum::Verified,
            Checksum::Partial {
                start: 0x1234,
                offset: 0x5678,
            },
        ];
        let segmentations = [
            Segmentation::None,
            Segmentation::TcpV4 { size: 1448 },
            Segmentation::TcpV6 { size: 0xfffe },
            Segmentation::Other { kind: 5, size: 9 },
        ];
        for checksum in checksums {
            for segmentation in segmentations {
                let header = VnetHeader {
                    checksum,
                    segmentation,
                    header_len: 0x0b0a,
                };
                assert_eq!(VnetHeader::decode(&header.encode()), header);
            }
        }
    }

    #[test]
    fn ecn_does_not_hide_the_type() {
        let header = VnetHeader::decode(&[1, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(header.segmentation, Segmentation::TcpV4 { size: 0 });
    }
}
