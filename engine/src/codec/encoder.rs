//! The encoder: the same bytes as bincode's in its standard configuration, written without a writer that may fail and
//! without a call for each number. Every fact, reply and row goes through here.

use serde::ser::{self, Serialize};
use std::fmt;

/// The value has no encoding: a list that does not know its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoEncoding;

impl fmt::Display for NoEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value has no encoding")
    }
}

impl std::error::Error for NoEncoding {}

impl ser::Error for NoEncoding {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Appends what is encoded.
pub(super) struct Encoder<'a>(pub(super) &'a mut Vec<u8>);

/// The highest number that is its own encoding; higher ones are led by one of the bytes below.
const SINGLE_MAX: u8 = 250;
const LEADS_U16: u8 = 251;
const LEADS_U32: u8 = 252;
const LEADS_U64: u8 = 253;
const LEADS_U128: u8 = 254;

/// Positive numbers become even, negative ones odd.
macro_rules! zigzag {
    ($value:ident, $unsigned:ty) => {
        ($value << 1 ^ $value >> (<$unsigned>::BITS - 1)) as $unsigned
    };
}

impl Encoder<'_> {
    /// A lead and the bytes of a number, in one piece of a length known when this is compiled.
    #[inline]
    fn put<const N: usize, const LEN: usize>(&mut self, lead: u8, number: [u8; N]) {
        let mut bytes = [lead; LEN];
        bytes[1..].copy_from_slice(&number);
        self.0.extend_from_slice(&bytes);
    }

    /// Most numbers are lengths, kinds and counts.
    #[inline(always)]
    fn put_u64(&mut self, value: u64) {
        if value <= u64::from(SINGLE_MAX) {
            self.0.push(value as u8);
        } else {
            self.put_long(value);
        }
    }

    fn put_long(&mut self, value: u64) {
        if value <= u64::from(u16::MAX) {
            self.put::<2, 3>(LEADS_U16, (value as u16).to_le_bytes());
        } else if value <= u64::from(u32::MAX) {
            self.put::<4, 5>(LEADS_U32, (value as u32).to_le_bytes());
        } else {
            self.put::<8, 9>(LEADS_U64, value.to_le_bytes());
        }
    }

    #[inline]
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_u64(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

impl ser::Serializer for &mut Encoder<'_> {
    type Ok = ();
    type Error = NoEncoding;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), NoEncoding> {
        self.serialize_u8(u8::from(value))
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<(), NoEncoding> {
        self.serialize_u8(value as u8)
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result<(), NoEncoding> {
        self.serialize_u16(zigzag!(value, u16))
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), NoEncoding> {
        self.serialize_u32(zigzag!(value, u32))
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), NoEncoding> {
        self.serialize_u64(zigzag!(value, u64))
    }

    #[inline]
    fn serialize_i128(self, value: i128) -> Result<(), NoEncoding> {
        self.serialize_u128(zigzag!(value, u128))
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<(), NoEncoding> {
        self.0.push(value);
        Ok(())
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<(), NoEncoding> {
        self.serialize_u64(u64::from(value))
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), NoEncoding> {
        self.serialize_u64(u64::from(value))
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), NoEncoding> {
        self.put_u64(value);
        Ok(())
    }

    #[inline]
    fn serialize_u128(self, value: u128) -> Result<(), NoEncoding> {
        match u64::try_from(value) {
            Ok(value) => self.put_u64(value),
            Err(_) => self.put::<16, 17>(LEADS_U128, value.to_le_bytes()),
        }
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), NoEncoding> {
        self.0.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), NoEncoding> {
        self.0.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), NoEncoding> {
        self.0.extend_from_slice(value.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), NoEncoding> {
        self.put_bytes(value.as_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), NoEncoding> {
        self.put_bytes(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), NoEncoding> {
        self.serialize_u8(0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NoEncoding> {
        self.0.push(1);
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), NoEncoding> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), NoEncoding> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result<(), NoEncoding> {
        self.serialize_u32(index)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), NoEncoding> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), NoEncoding> {
        self.put_u64(u64::from(index));
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self, NoEncoding> {
        self.put_u64(len.ok_or(NoEncoding)? as u64);
        Ok(self)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self, NoEncoding> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, NoEncoding> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, NoEncoding> {
        self.put_u64(u64::from(index));
        Ok(self)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self, NoEncoding> {
        self.serialize_seq(len)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, NoEncoding> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, NoEncoding> {
        self.put_u64(u64::from(index));
        Ok(self)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Everything that has parts is its parts, one after the other.
macro_rules! parts {
    ($($of:ident::$part:ident($($name:ty)?),)*) => {$(
        impl ser::$of for &mut Encoder<'_> {
            type Ok = ();
            type Error = NoEncoding;

            #[inline]
            fn $part<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Result<(), NoEncoding> {
                value.serialize(&mut **self)
            }

            #[inline]
            fn end(self) -> Result<(), NoEncoding> {
                Ok(())
            }
        }
    )*};
}

parts! {
    SerializeSeq::serialize_element(),
    SerializeTuple::serialize_element(),
    SerializeTupleStruct::serialize_field(),
    SerializeTupleVariant::serialize_field(),
    SerializeStruct::serialize_field(&'static str),
    SerializeStructVariant::serialize_field(&'static str),
}

impl ser::SerializeMap for &mut Encoder<'_> {
    type Ok = ();
    type Error = NoEncoding;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NoEncoding> {
        key.serialize(&mut **self)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NoEncoding> {
        value.serialize(&mut **self)
    }

    #[inline]
    fn end(self) -> Result<(), NoEncoding> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::codec::encode;
    use serde::Serialize;
    use std::collections::BTreeMap;

    fn check<T: Serialize>(value: T) {
        let expected = bincode::serde::encode_to_vec(&value, bincode::config::standard()).unwrap();
        assert_eq!(encode(&value), expected);
    }

    #[derive(Serialize)]
    enum Kind {
        Unit,
        New(u64),
        Tuple(u8, i32),
        Struct { text: String, list: Vec<i64> },
    }

    #[derive(Serialize)]
    struct Everything {
        kinds: Vec<Kind>,
        map: BTreeMap<u16, Option<bool>>,
        array: [u8; 5],
        pair: (char, char, char, char),
        floats: (f32, f64),
        unit: (),
    }

    #[test]
    fn the_bytes_are_those_of_bincode() {
        for shift in 0..128 {
            for near in -2_i32..=2 {
                let value = (1_u128 << shift).wrapping_add_signed(i128::from(near));
                check((value as u8, value as u16, value as u32, value as u64, value));
                check((value as i8, value as i16, value as i32, value as i64, value as i128, value as usize));
                let value = value.wrapping_neg();
                check((value as i8, value as i16, value as i32, value as i64, value as i128));
            }
        }
        for near in 248..=256_u64 {
            check((near as u16, near as u32, near, u128::from(near), near as i64 / 2, -(near as i64) / 2));
        }
        check(Everything {
            kinds: vec![
                Kind::Unit,
                Kind::New(1 << 40),
                Kind::Tuple(9, -70_000),
                Kind::Struct { text: "ä".repeat(200), list: vec![-1, i64::MIN, i64::MAX] },
            ],
            map: BTreeMap::from([(0, None), (70, Some(true)), (u16::MAX, Some(false))]),
            array: [1, 255, 251, 0, 250],
            pair: ('a', 'ä', '€', '𝄞'),
            floats: (1.5, f64::MIN),
            unit: (),
        });
    }
}
