//! One least and one fullest value of each type, as JSON.

use isogrid_wire::native::schema::{Field, Type};
use serde_json::{Map, Value, json};

/// A value of each type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// Nothing that can be left out.
    Minimal,
    /// Everything that can be set.
    Full,
}

impl Sample {
    pub const BOTH: [Sample; 2] = [Sample::Minimal, Sample::Full];

    /// How vectors are called.
    pub fn word(self) -> &'static str {
        match self {
            Sample::Minimal => "minimal",
            Sample::Full => "everything",
        }
    }

    /// A value of each field.
    pub fn fields(self, fields: &[Field]) -> Value {
        let one = |field: &Field| (field.name.to_owned(), self.field(field));
        Value::Object(fields.iter().map(one).collect::<Map<_, _>>())
    }

    fn field(self, field: &Field) -> Value {
        match (field.name, self) {
            // One of the kinds of change, and one of the operations.
            ("event", _) => 2.into(),
            ("op", Sample::Full) if matches!(field.kind, Type::U16) => 0x0101.into(),
            _ => self.value(&field.kind),
        }
    }

    /// A value of this type.
    pub fn value(self, kind: &Type) -> Value {
        let full = self == Sample::Full;
        let of = |least: Value, most: Value| if full { most } else { least };
        match kind {
            Type::U8 => of(0.into(), 0x12.into()),
            Type::U16 => of(0.into(), 0x1234.into()),
            Type::U32 => of(0.into(), 0x1234_5678.into()),
            Type::U64 => of("0".into(), 0x0123_4567_89ab_cdef_u64.to_string().into()),
            Type::I64 => of("0".into(), "-2".into()),
            Type::Varint => of("0".into(), "300".into()),
            Type::Ms => of(0.into(), 60_000.into()),
            Type::Bool => full.into(),
            Type::Bytes => of("".into(), json!({ "hex": "00ff80" })),
            Type::Key => of("k".into(), "user:1234".into()),
            Type::Value => of("".into(), "hello".into()),
            Type::Str => of("".into(), "grün".into()),
            Type::Json => of("{}".into(), r#"{"a":[1,"x"],"b":{"c":null}}"#.into()),
            Type::List(item) => {
                of(json!([]), json!([Sample::Full.value(item), Sample::Minimal.value(item)]))
            }
            Type::Opt(item) => {
                if full {
                    self.value(item)
                } else {
                    Value::Null
                }
            }
            Type::Record(record) => self.fields(record.fields),
            Type::Choice(choices) => {
                let choice = if full { choices.choices.last() } else { choices.choices.first() };
                choice.unwrap().name.into()
            }
            Type::Options(options) => {
                let bits = options.bits.iter().filter(|_| full);
                let operand =
                    |kind: Option<Type>| kind.map_or(Value::Bool(true), |kind| self.value(&kind));
                Value::Object(bits.map(|bit| (bit.name.to_owned(), operand(bit.operand))).collect())
            }
        }
    }
}
