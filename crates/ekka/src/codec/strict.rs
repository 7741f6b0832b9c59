//! Values as JSON, and nothing that JSON would change: no number that is none, no key twice, no whole number beyond 64 bits.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A value that can be said in JSON and read back as it was.
pub(super) struct Strict(pub(super) Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can say")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        if value.is_finite() { Ok(value.into()) } else { Err(E::custom("a number that is none")) }
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key that is there twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

/// Whether a text of JSON has a whole number that only a floating one could hold.
pub(super) fn has_long_number(text: &[u8]) -> bool {
    let (mut in_string, mut rest) = (false, text);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'\\' if in_string => rest = rest.get(1..).unwrap_or_default(),
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let start = text.len() - rest.len() - 1;
                let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let length = text[start..].iter().take_while(|byte| is_part(byte)).count();
                let number = &text[start..start + length];
                rest = &text[start + length..];
                let is_whole = !number.iter().any(|byte| b".eE".contains(byte));
                let fits = std::str::from_utf8(number)
                    .is_ok_and(|number| number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok());
                if is_whole && !fits {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_beyond_64_bits_are_found_outside_of_strings() {
        for text in ["340282366920938463463374607431768211455", "[1,{\"a\":-9223372036854775809}]"] {
            assert!(has_long_number(text.as_bytes()), "{text}");
        }
        for text in [
            "18446744073709551615",
            "-9223372036854775808",
            "1e300",
            "0.34028236692093846346337460743176821",
            "\"a\\\"99999999999999999999\"",
        ] {
            assert!(!has_long_number(text.as_bytes()), "{text}");
        }
    }
}
