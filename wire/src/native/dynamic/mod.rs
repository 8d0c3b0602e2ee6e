//! Bytes to JSON and back, by the [`super::schema`] alone: for documents, captures and vectors.
//! It shares no code with the types beyond the primitives, so that each is held to the other.
//!
//! `u64`, `i64` and `varint` are strings of decimal digits; `bytes`, `key` and `value` are a string
//! if they are UTF-8 without control characters and `{"hex": ".."}` else; `json` is its text; `opt`
//! is `null` or the value; a choice is its name; options are an object of the names of their bits,
//! with the operand or `true`.

mod frame;

use serde_json::{Map, Value};

use super::codec::{Codec, Ms, Varint, put_bytes};
use super::reader::{Malformed, Reader};
use super::schema::{Choices, Field, Options, Type};
use super::sink::put_varint;
use super::{Json, Key, Value as Blob};

pub use frame::{decode_frame, encode_frame};

/// Takes a value of this type off the front of the input.
///
/// # Errors
///
/// What is wrong with the bytes.
pub fn decode(kind: &Type, input: &mut Reader<'_>) -> Result<Value, Malformed> {
    Ok(match *kind {
        Type::U8 => u8::decode(input)?.into(),
        Type::U16 => u16::decode(input)?.into(),
        Type::U32 => u32::decode(input)?.into(),
        Type::U64 => u64::decode(input)?.to_string().into(),
        Type::I64 => i64::decode(input)?.to_string().into(),
        Type::Varint => Varint::decode(input)?.0.to_string().into(),
        Type::Bool => bool::decode(input)?.into(),
        Type::Ms => Ms::decode(input)?.0.into(),
        Type::Bytes => shown(<&[u8]>::decode(input)?),
        Type::Key => shown(Key::decode(input)?.0),
        Type::Value => shown(Blob::decode(input)?.bytes()),
        Type::Str => <&str>::decode(input)?.into(),
        Type::Json => Json::decode(input)?.0.into(),
        Type::List(item) => decode_list(item, input)?,
        Type::Opt(item) if bool::decode(input)? => decode(item, input)?,
        Type::Opt(_) => Value::Null,
        Type::Record(record) => Value::Object(decode_fields(record.fields, input)?),
        Type::Choice(choices) => decode_choice(choices, input)?,
        Type::Options(options) => decode_options(options, input)?,
    })
}

fn decode_list(item: &Type, input: &mut Reader<'_>) -> Result<Value, Malformed> {
    let count = input.count(len_min(item))?;
    let items: Result<Vec<_>, _> = (0..count).map(|_| decode(item, input)).collect();
    Ok(items?.into())
}

/// Takes fields in a row.
fn decode_fields(
    fields: &[Field],
    input: &mut Reader<'_>,
) -> Result<Map<String, Value>, Malformed> {
    let one = |field: &Field| Ok((field.name.to_owned(), decode(&field.kind, input)?));
    fields.iter().map(one).collect()
}

fn decode_choice(choices: &Choices, input: &mut Reader<'_>) -> Result<Value, Malformed> {
    let number = u8::decode(input)?;
    let choice = choices.choices.iter().find(|choice| choice.number == number);
    Ok(choice.ok_or(Malformed::Choice)?.name.into())
}

fn decode_options(options: &Options, input: &mut Reader<'_>) -> Result<Value, Malformed> {
    let word = if options.width == 1 { u8::decode(input)?.into() } else { u16::decode(input)? };
    let known = options.bits.iter().fold(0, |known, bit| known | bit.bit);
    if !options.open && word & !known != 0 {
        return Err(Malformed::Bits);
    }
    let mut all = Map::new();
    for bit in options.bits.iter().filter(|bit| word & bit.bit != 0) {
        let operand = bit.operand.map_or(Ok(Value::Bool(true)), |kind| decode(&kind, input))?;
        all.insert(bit.name.to_owned(), operand);
    }
    Ok(Value::Object(all))
}

/// The fewest bytes of a type, as [`Codec::LEN_MIN`].
fn len_min(kind: &Type) -> usize {
    match kind {
        Type::U16 | Type::Key => 2,
        Type::Json => 3,
        Type::U32 => 4,
        Type::U64 | Type::I64 => 8,
        Type::Record(record) => record.fields.iter().map(|field| len_min(&field.kind)).sum(),
        Type::Options(options) => options.width,
        _ => 1,
    }
}

fn shown(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        _ => serde_json::json!({ "hex": to_hex(bytes) }),
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hexadecimal digits as bytes; white space is skipped.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits?;
    let (pairs, odd) = digits.as_chunks::<2>();
    odd.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Appends a value of this type. `None`: the JSON is not of this type.
pub fn encode(kind: &Type, value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match *kind {
        Type::U8 => u8::try_from(value.as_u64()?).ok()?.encode(out),
        Type::U16 => u16::try_from(value.as_u64()?).ok()?.encode(out),
        Type::U32 => u32::try_from(value.as_u64()?).ok()?.encode(out),
        Type::U64 => value.as_str()?.parse::<u64>().ok()?.encode(out),
        Type::I64 => value.as_str()?.parse::<i64>().ok()?.encode(out),
        Type::Varint => put_varint(value.as_str()?.parse().ok()?, out),
        Type::Bool => value.as_bool()?.encode(out),
        Type::Ms => put_varint(value.as_u64()?, out),
        Type::Bytes | Type::Key | Type::Value => put_bytes(&unshown(value)?, out),
        Type::Str | Type::Json => value.as_str()?.encode(out),
        Type::List(item) => return encode_list(item, value, out),
        Type::Opt(_) if value.is_null() => out.push(0),
        Type::Opt(item) => {
            out.push(1);
            return encode(item, value, out);
        }
        Type::Record(record) => return encode_fields(record.fields, value, out),
        Type::Choice(choices) => {
            let name = value.as_str()?;
            out.push(choices.choices.iter().find(|choice| choice.name == name)?.number);
        }
        Type::Options(options) => return encode_options(options, value, out),
    }
    Some(())
}

fn encode_list(item: &Type, value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let items = value.as_array()?;
    put_varint(items.len() as u64, out);
    items.iter().try_for_each(|value| encode(item, value, out))
}

/// Appends fields in a row.
fn encode_fields(fields: &[Field], value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let object = value.as_object()?;
    if object.len() != fields.len() {
        return None;
    }
    fields.iter().try_for_each(|field| encode(&field.kind, object.get(field.name)?, out))
}

fn encode_options(options: &Options, value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let object = value.as_object()?;
    let bit_of = |name: &String| options.bits.iter().find(|bit| bit.name == name);
    let word = object.keys().try_fold(0, |word, name| Some(word | bit_of(name)?.bit))?;
    if options.width == 1 {
        u8::try_from(word).ok()?.encode(out)
    } else {
        word.encode(out)
    }
    for bit in options.bits {
        match (object.get(bit.name), bit.operand) {
            (Some(value), Some(kind)) => encode(&kind, value, out)?,
            (Some(value), None) if *value != Value::Bool(true) => return None,
            _ => {}
        }
    }
    Some(())
}

fn unshown(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        other => from_hex(other.as_object()?.get("hex")?.as_str()?),
    }
}
