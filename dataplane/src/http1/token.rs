//! Classes of bytes, and ranges of a head.

/// A range of bytes in a head, counted from the head's first byte.
///
/// It is `Range<u32>`, but `Copy`: parsed heads are full of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// First byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Part {
    /// The range from `start` to before `end`. Heads are far shorter than 4 GiB.
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes of this range. `head` must be the head that was parsed.
    #[inline]
    pub fn of(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// True when the range holds no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Makes the table of the bytes that are letters, digits or one of `others`.
const fn alphanumeric_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut other = 0;
    while other < others.len() {
        table[others[other] as usize] = true;
        other += 1;
    }
    table
}

/// `tchar` of RFC 9110 section 5.6.2: what methods and field names are made of.
static TOKEN: [bool; 256] = alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// `reg-name` of RFC 3986 section 3.2.2 without the comma, which would be indistinguishable from
/// two `Host` fields combined into a list.
static REG_NAME: [bool; 256] = alphanumeric_and(b"-._~!$&'()*+;=%");

/// True for a byte that a method or a field name may hold.
#[inline]
pub fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// True for a non-empty run of token bytes.
pub fn is_token_text(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token(byte))
}

/// True for a byte that a registered host name may hold (percent signs included).
pub(super) fn is_reg_name(byte: u8) -> bool {
    REG_NAME[byte as usize]
}

/// True for a byte that a field value, a reason phrase or a chunk extension may hold: HTAB, SP,
/// VCHAR and obs-text (RFC 9110 section 5.5).
#[inline]
pub fn is_text(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// True for optional whitespace: SP or HTAB (RFC 9110 section 5.6.3).
#[inline]
pub fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// `text` without the optional whitespace around it.
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// The value of a run of decimal digits; `None` if it is empty, holds anything else, or exceeds
/// `max`.
pub fn decimal(text: &[u8], max: u64) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    (value <= max).then_some(value)
}

/// Appends `value` in decimal.
pub fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
