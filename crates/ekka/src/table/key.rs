//! Keys as bytes: so that their order is that of the bytes, and people can read them.

/// What a key of a table can be. Its bytes have its order, or scans would come in another one.
///
/// Texts are their bytes; whole numbers are eight bytes, the highest first, signed ones with the sign turned round. For a
/// type of your own say how it becomes one of these.
pub trait TableKey: Sized {
    /// Appends its bytes.
    fn write(&self, out: &mut Vec<u8>);

    /// The key of such bytes.
    ///
    /// # Errors
    /// They are none, in words.
    fn read(bytes: &[u8]) -> Result<Self, String>;

    /// Its bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }
}

impl TableKey for String {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        String::from_utf8(bytes.to_vec()).map_err(|error| format!("the key is no text: {error}"))
    }
}

impl TableKey for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        Ok(bytes.to_vec())
    }
}

fn eight(bytes: &[u8]) -> Result<[u8; 8], String> {
    bytes.try_into().map_err(|_| format!("the key has {} bytes, a whole number has 8", bytes.len()))
}

impl TableKey for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        eight(bytes).map(u64::from_be_bytes)
    }
}

const SIGN: u64 = 1 << 63;

impl TableKey for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        (self.cast_unsigned() ^ SIGN).write(out);
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        u64::read(bytes).map(|bits| (bits ^ SIGN).cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_keys_have_their_order_and_give_them_back() {
        let numbers = [i64::MIN, -7, -1, 0, 1, 9, 300, i64::MAX];
        assert!(numbers.map(|number| number.to_bytes()).is_sorted());
        assert_eq!(numbers.map(|number| i64::read(&number.to_bytes())), numbers.map(Ok));
        assert!([0u64, 255, 256, u64::MAX].map(|number| number.to_bytes()).is_sorted());
        assert_eq!(String::read(&"käse".to_owned().to_bytes()), Ok("käse".to_owned()));
        assert!(String::read(&[255]).unwrap_err().contains("no text"));
        assert!(u64::read(b"seven").unwrap_err().contains("5 bytes"));
    }
}
