//! Values people write with a unit.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// Milliseconds, written as a duration: `"250ms"`, `"5s"`, `"1m 30s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub u32);

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Millis;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration in quotes, such as \"5s\" or \"250ms\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Millis, E> {
                let duration = humantime::parse_duration(text).map_err(|error| {
                    E::custom(format!(
                        "\"{text}\" is not a duration ({error}) — write \"5s\" or \"250ms\""
                    ))
                })?;
                let millis = u32::try_from(duration.as_millis()).map_err(|_| {
                    E::custom(format!(
                        "\"{text}\" is too long — the longest is \"49days\", and \"0s\" waits for ever"
                    ))
                })?;
                // Rounding down would turn a short wait into an endless one.
                if duration != Duration::from_millis(millis.into()) {
                    return Err(E::custom(format!(
                        "\"{text}\" is finer than a millisecond — write whole milliseconds"
                    )));
                }
                Ok(Millis(millis))
            }
        }
        deserializer.deserialize_str(Read)
    }
}

/// Bytes, written as a size: `"256KiB"`, `"12MiB"`, or a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, such as \"256KiB\" or a number of bytes")
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Bytes, E> {
                u64::try_from(bytes)
                    .map(Bytes)
                    .map_err(|_| E::custom(format!("{bytes} is not a size — it is negative")))
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
                match text.parse::<bytesize::ByteSize>() {
                    Ok(size) => Ok(Bytes(size.as_u64())),
                    Err(_) => Err(E::custom(format!(
                        "\"{text}\" is not a size — write \"256KiB\" or \"12MiB\""
                    ))),
                }
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// `bytes` as people write it: `256KiB`.
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    UNITS
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(
            || format!("{bytes} bytes"),
            |(unit, name)| format!("{}{name}", bytes / unit),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Doc {
        wait: Option<Millis>,
        size: Option<Bytes>,
    }

    fn read(text: &str) -> Result<Doc, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("1.5s", 1_500),
            ("1m 30s", 90_000),
            ("0s", 0),
            ("49days", 4_233_600_000),
        ] {
            let doc = read(&format!("wait = '{text}'")).unwrap();
            assert_eq!(doc.wait, Some(Millis(millis)), "{text}");
        }
        for (text, fragment) in [
            ("'5'", "time unit needed"),
            ("'soon'", "is not a duration"),
            ("'50days'", "the longest is \"49days\""),
            ("'5us'", "finer than a millisecond"),
            ("'1500us'", "finer than a millisecond"),
            ("5", "expected a duration in quotes"),
        ] {
            let error = read(&format!("wait = {text}")).err().unwrap();
            assert!(error.contains(fragment), "{text}: {error}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("'256KiB'", 256 << 10),
            ("'12 MiB'", 12 << 20),
            ("'64kB'", 64_000),
            ("4096", 4096),
            ("'0'", 0),
        ] {
            let doc = read(&format!("size = {text}")).unwrap();
            assert_eq!(doc.size, Some(Bytes(bytes)), "{text}");
        }
        for (text, fragment) in [
            ("'lots'", "is not a size — write \"256KiB\""),
            ("-1", "it is negative"),
            ("true", "expected a size"),
        ] {
            let error = read(&format!("size = {text}")).err().unwrap();
            assert!(error.contains(fragment), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_shown_as_they_are_written() {
        for (bytes, text) in [
            (262_144, "256KiB"),
            (1 << 30, "1GiB"),
            (1500, "1500 bytes"),
            (0, "0 bytes"),
        ] {
            assert_eq!(show_bytes(bytes), text);
        }
    }
}
