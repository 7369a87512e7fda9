//! The time of day as HTTP writes it.

/// Days of the week, from 1 January 1970 on.
const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The last second an IMF-fixdate can name, whose year has four digits: 31 December 9999.
const LAST: u64 = 253_402_300_799;

/// An IMF-fixdate (RFC 9110 section 5.6.7), written once a second into the same 29 bytes and read
/// by every message of that second.
#[derive(Clone, Debug, Default)]
pub struct HttpDate {
    second: Option<u64>,
    text: [u8; 29],
}

impl HttpDate {
    /// Sets the time, in seconds since 1970. The same second again costs a comparison.
    pub fn set(&mut self, unix_seconds: u64) {
        let second = unix_seconds.min(LAST);
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = imf_fixdate(second);
        }
    }

    /// The text; `None` before the first [`HttpDate::set`]: who does not know the time must not
    /// write a date (RFC 9110 section 6.6.1).
    pub fn text(&self) -> Option<&[u8]> {
        self.second.map(|_| &self.text[..])
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn imf_fixdate(second: u64) -> [u8; 29] {
    let (days, rest) = (second / 86_400, second % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(WEEKDAYS[(days % 7) as usize]);
    text[8..11].copy_from_slice(MONTHS[month]);
    for (at, value) in [
        (5, day),
        (12, year / 100),
        (14, year % 100),
        (17, rest / 3600),
        (20, rest / 60 % 60),
        (23, rest % 60),
    ] {
        text[at] = b'0' + (value / 10) as u8;
        text[at + 1] = b'0' + (value % 10) as u8;
    }
    text
}

/// Year, month from 0, and day of the month, of a day counted from 1 January 1970, in the Gregorian
/// calendar. Years are counted from March here, so that the day that leap years add is a year's last;
/// four hundred of them always have as many days.
fn civil(days: u64) -> (u64, usize, u64) {
    const ERA: u64 = 146_097;
    // From 1 March of the year 0.
    let days = days + 719_468;
    let (era, of_era) = (days / ERA, days % ERA);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, and again: 153 for each five.
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let january = month >= 10;
    let month = if january { month - 10 } else { month + 2 };
    (400 * era + year + u64::from(january), month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(second: u64) -> String {
        let mut date = HttpDate::default();
        date.set(second);
        String::from_utf8(date.text().expect("a time is set").to_vec()).expect("ASCII")
    }

    #[test]
    fn dates_are_imf_fixdates() {
        for (second, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            // The example of RFC 9110 section 5.6.7.
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(text(second), expected, "{second}");
        }
    }

    /// Every day until 9999, against a calendar that is counted and not computed.
    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 0, 1);
        for days in 0..=LAST / 86_400 {
            assert_eq!(civil(days), (year, month, day), "day {days}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                1 => 28 + u64::from(leap),
                3 | 5 | 8 | 10 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month == 12 {
                (year, month) = (year + 1, 0);
            }
        }
    }

    #[test]
    fn without_a_time_there_is_no_date() {
        assert_eq!(HttpDate::default().text(), None);
    }
}
