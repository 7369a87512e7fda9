//! Handing packets over costs no allocation. Alone in its file: the allocator that counts is the whole
//! process's.

use allocation_counter::measure;
use dataplane::mailbox::{Content, LONGEST, Mailbox};
use dataplane::port::RxChecksum;

#[test]
fn parcels_are_used_again() {
    let mut made = None;
    let counted = measure(|| made = Some(Mailbox::new(4)));
    assert!(counted.count_total > 4, "the parcels themselves");
    let mailbox = made.expect("just made");
    let packet = vec![1; LONGEST];
    let content = Content::Segment {
        checksum: RxChecksum::Good,
    };
    let counted = measure(|| {
        for round in 0..1000 {
            let len = 60 + (round * 7919) % (LONGEST - 60);
            for _ in 0..4 {
                let pieces = packet[..len].chunks(16 * 1024);
                mailbox.put(content, pieces).expect("a free parcel");
            }
            while let Some(parcel) = mailbox.take() {
                assert_eq!(parcel.bytes().len(), len);
                mailbox.give_back(parcel);
            }
        }
    });
    assert_eq!(counted.count_total, 0);
}
