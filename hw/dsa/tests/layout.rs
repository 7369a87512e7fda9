//! Our types against the C header they stand for.

use std::collections::HashMap;
use std::mem::offset_of;
use std::path::Path;
use std::process::Command;

use dsa::{CompletionRecord, Descriptor, Flags, Opcode, Status};

const PROGRAM: &str = r#"
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <linux/idxd.h>

#define VALUE(x) printf(#x " %llu\n", (unsigned long long)(x))
#define FIELD(type, field) printf(#type "." #field " %zu %zu\n", offsetof(struct type, field), \
                                  sizeof(((struct type *)0)->field))

int main(void) {
    VALUE(sizeof(struct dsa_hw_desc));
    FIELD(dsa_hw_desc, completion_addr);
    FIELD(dsa_hw_desc, src_addr);
    FIELD(dsa_hw_desc, desc_list_addr);
    FIELD(dsa_hw_desc, dst_addr);
    FIELD(dsa_hw_desc, xfer_size);
    FIELD(dsa_hw_desc, desc_count);
    FIELD(dsa_hw_desc, int_handle);
    FIELD(dsa_hw_desc, rsvd1);
    FIELD(dsa_hw_desc, op_specific);
    VALUE(sizeof(struct dsa_completion_record));
    FIELD(dsa_completion_record, status);
    FIELD(dsa_completion_record, result);
    FIELD(dsa_completion_record, bytes_completed);
    FIELD(dsa_completion_record, fault_addr);
    FIELD(dsa_completion_record, op_specific);

    /* Bit fields have no offset: where they are, the bytes say. */
    struct dsa_hw_desc d;
    unsigned words[2];
    memset(&d, 0, sizeof d);
    d.pasid = 0xabcde;
    d.priv = 1;
    d.flags = 0x123456;
    d.opcode = 0x78;
    memcpy(words, &d, sizeof words);
    VALUE(words[0]);
    VALUE(words[1]);

    VALUE(DSA_OPCODE_NOOP); VALUE(DSA_OPCODE_BATCH); VALUE(DSA_OPCODE_DRAIN);
    VALUE(DSA_OPCODE_MEMMOVE); VALUE(DSA_OPCODE_MEMFILL); VALUE(DSA_OPCODE_COMPARE);
    VALUE(DSA_OPCODE_DUALCAST); VALUE(DSA_OPCODE_CRCGEN); VALUE(DSA_OPCODE_COPY_CRC);
    VALUE(DSA_OPCODE_CFLUSH);
    VALUE(IDXD_OP_FLAG_FENCE); VALUE(IDXD_OP_FLAG_BOF); VALUE(IDXD_OP_FLAG_CRAV);
    VALUE(IDXD_OP_FLAG_RCR); VALUE(IDXD_OP_FLAG_CC);
    VALUE(DSA_COMP_SUCCESS); VALUE(DSA_COMP_SUCCESS_PRED); VALUE(DSA_COMP_PAGE_FAULT_NOBOF);
    VALUE(DSA_COMP_BATCH_FAIL); VALUE(DSA_COMP_BATCH_PAGE_FAULT); VALUE(DSA_COMP_BAD_OPCODE);
    VALUE(DSA_COMP_INVALID_FLAGS); VALUE(DSA_COMP_NOZERO_RESERVE); VALUE(DSA_COMP_XFER_ERANGE);
    VALUE(DSA_COMP_DESC_CNT_ERANGE); VALUE(DSA_COMP_OVERLAP_BUFFERS);
    VALUE(DSA_COMP_DESCLIST_ALIGN); VALUE(DSA_COMP_CRA_XLAT); VALUE(DSA_COMP_CRA_ALIGN);
    VALUE(DSA_COMP_STATUS_MASK); VALUE(DSA_COMP_STATUS_WRITE);
    return 0;
}
"#;

/// What the C compiler says of the header: names and one or two numbers each.
fn header() -> HashMap<String, Vec<u64>> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("layout.c");
    let program = folder.path().join("layout");
    std::fs::write(&source, PROGRAM).unwrap();
    let compiled = Command::new("cc")
        .args([&source, Path::new("-o"), &program])
        .output()
        .expect("a C compiler: apt-get install gcc linux-libc-dev");
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let said = Command::new(&program).output().unwrap();
    let lines = String::from_utf8(said.stdout).unwrap();
    lines
        .lines()
        .map(|line| {
            // Names like `sizeof(struct x)` have spaces: numbers are the last words.
            let words: Vec<&str> = line.split(' ').collect();
            let first = words.iter().position(|word| word.parse::<u64>().is_ok());
            let (name, numbers) = words.split_at(first.unwrap());
            let numbers = numbers.iter().map(|word| word.parse().unwrap());
            (name.join(" "), numbers.collect())
        })
        .collect()
}

#[test]
fn layouts_and_numbers_are_those_of_the_header() {
    let header = header();
    let mut seen = 0;
    let mut check = |name: &str, ours: &[u64]| {
        assert_eq!(header[name], ours, "{name}");
        seen += 1;
    };
    macro_rules! field {
        ($c:literal, $Type:ty, $field:ident, $size:expr) => {
            check($c, &[offset_of!($Type, $field) as u64, $size]);
        };
    }

    check(
        "sizeof(struct dsa_hw_desc)",
        &[size_of::<Descriptor>() as u64],
    );
    field!("dsa_hw_desc.completion_addr", Descriptor, record, 8);
    field!("dsa_hw_desc.src_addr", Descriptor, source, 8);
    field!("dsa_hw_desc.desc_list_addr", Descriptor, source, 8);
    field!("dsa_hw_desc.dst_addr", Descriptor, target, 8);
    field!("dsa_hw_desc.xfer_size", Descriptor, size, 4);
    field!("dsa_hw_desc.desc_count", Descriptor, size, 4);
    field!("dsa_hw_desc.int_handle", Descriptor, interrupt, 2);
    field!("dsa_hw_desc.rsvd1", Descriptor, reserved, 2);
    field!("dsa_hw_desc.op_specific", Descriptor, specific, 24);
    check(
        "sizeof(struct dsa_completion_record)",
        &[size_of::<CompletionRecord>() as u64],
    );
    // The status is private; that it is the first byte is what clear() and status() show below.
    check("dsa_completion_record.status", &[0, 1]);
    field!("dsa_completion_record.result", CompletionRecord, result, 1);
    field!(
        "dsa_completion_record.bytes_completed",
        CompletionRecord,
        completed,
        4
    );
    field!(
        "dsa_completion_record.fault_addr",
        CompletionRecord,
        fault_address,
        8
    );
    check(
        "dsa_completion_record.op_specific",
        &[offset_of!(CompletionRecord, detail) as u64, 16],
    );

    let mut words = Descriptor::default()
        .with_flags(Flags::from_bits(0x12_3456))
        .with_opcode(0x78);
    words.pasid = 0xabcde | 1 << 31;
    // SAFETY: a descriptor is 64 initialised bytes.
    let words: [u32; 16] = unsafe { std::mem::transmute(words) };
    check("words[0]", &[u64::from(words[0])]);
    check("words[1]", &[u64::from(words[1])]);

    for (name, opcode) in [
        ("NOOP", Opcode::Noop),
        ("BATCH", Opcode::Batch),
        ("DRAIN", Opcode::Drain),
        ("MEMMOVE", Opcode::Memmove),
        ("MEMFILL", Opcode::Fill),
        ("COMPARE", Opcode::Compare),
        ("DUALCAST", Opcode::Dualcast),
        ("CRCGEN", Opcode::CrcGenerate),
        ("COPY_CRC", Opcode::CopyCrc),
        ("CFLUSH", Opcode::CacheFlush),
    ] {
        check(&format!("DSA_OPCODE_{name}"), &[opcode as u64]);
        assert_eq!(Opcode::from_bits(opcode as u8), Some(opcode));
    }
    for (name, flag) in [
        ("FENCE", Flags::FENCE),
        ("BOF", Flags::BLOCK_ON_FAULT),
        ("CRAV", Flags::RECORD_VALID),
        ("RCR", Flags::REQUEST_RECORD),
        ("CC", Flags::CACHE_CONTROL),
    ] {
        check(&format!("IDXD_OP_FLAG_{name}"), &[u64::from(flag.bits())]);
    }
    for (name, status) in [
        ("SUCCESS", Status::Success),
        ("SUCCESS_PRED", Status::FalsePredicate),
        ("PAGE_FAULT_NOBOF", Status::PageFault),
        ("BATCH_FAIL", Status::BatchFailed),
        ("BATCH_PAGE_FAULT", Status::ListFault),
        ("BAD_OPCODE", Status::BadOpcode),
        ("INVALID_FLAGS", Status::BadFlags),
        ("NOZERO_RESERVE", Status::ReservedField),
        ("XFER_ERANGE", Status::BadSize),
        ("DESC_CNT_ERANGE", Status::BadCount),
        ("OVERLAP_BUFFERS", Status::Overlap),
        ("DESCLIST_ALIGN", Status::ListMisaligned),
        ("CRA_XLAT", Status::RecordFault),
        ("CRA_ALIGN", Status::RecordMisaligned),
    ] {
        check(&format!("DSA_COMP_{name}"), &[u64::from(status.bits())]);
        assert_eq!(Status::from_bits(status.bits()), Some(status));
    }
    check("DSA_COMP_STATUS_MASK", &[u64::from(!Status::WRITE_FAULT)]);
    check("DSA_COMP_STATUS_WRITE", &[u64::from(Status::WRITE_FAULT)]);
    assert_eq!(
        seen,
        header.len(),
        "everything the program prints is checked"
    );

    assert_eq!(
        (align_of::<Descriptor>(), align_of::<CompletionRecord>()),
        (64, 32)
    );
}

#[test]
fn the_status_is_the_first_byte_and_bit_7_does_not_hide_it() {
    let record = CompletionRecord::default();
    assert_eq!(record.status(), None);
    let first = std::ptr::from_ref(&record).cast::<u8>().cast_mut();
    for (bits, status) in [
        (0x01, Status::Success),
        (0x03, Status::PageFault),
        (0x83, Status::PageFault),
        (0x9a, Status::RecordFault),
        (0x7f, Status::Other(0x7f)),
        (0x80, Status::Other(0)),
    ] {
        // SAFETY: the record is made of atomics, and nobody else looks.
        unsafe { first.write(bits) };
        assert_eq!(record.status(), Some(status), "{bits:#x}");
    }
    record.clear();
    assert_eq!(record.status(), None);
}
