//! The macros by which everything is declared once: a type, its two codecs and its description.

mod group;

/// A record: fields in a row.
macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        $name:ident $(<$life:lifetime>)? {
            $( $(#[doc = $field_doc:literal])+ $field:ident: $kind:ty, )*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct $name $(<$life>)? {
            $( $(#[doc = $field_doc])+ pub $field: $kind, )*
        }

        impl $(<$life>)? $name $(<$life>)? {
            /// What documents are told of it.
            pub const RECORD: &'static $crate::native::schema::Record =
                &$crate::native::schema::Record {
                    name: stringify!($name),
                    doc: concat!($($doc, "\n"),+),
                    fields: $crate::native::declare::fields!(
                        $( $(#[doc = $field_doc])+ $field: $kind, )*
                    ),
                };
        }

        impl<'a> $crate::native::codec::Codec<'a> for $name $(<$life>)? {
            const TYPE: $crate::native::schema::Type =
                $crate::native::schema::Type::Record(Self::RECORD);
            const LEN_MIN: usize =
                0 $(+ <$kind as $crate::native::codec::Codec<'a>>::LEN_MIN)*;

            #[inline]
            fn encoded_len(&self) -> usize {
                0 $(+ $crate::native::codec::Codec::encoded_len(&self.$field))*
            }

            #[inline]
            fn encode<S: $crate::native::sink::Sink>(&self, _out: &mut S) {
                $( $crate::native::codec::Codec::encode(&self.$field, _out); )*
            }

            #[inline]
            fn decode(
                _input: &mut $crate::native::reader::Reader<'a>,
            ) -> Result<Self, $crate::native::reader::Malformed> {
                $( let $field = $crate::native::codec::Codec::decode(_input)?; )*
                Ok($name { $($field),* })
            }
        }
    };
}

/// The descriptions of fields.
macro_rules! fields {
    ($( $(#[doc = $doc:literal])+ $field:ident: $kind:ty, )*) => {
        &[$( $crate::native::schema::Field {
            name: stringify!($field),
            doc: concat!($($doc, "\n"),+),
            kind: <$kind as $crate::native::codec::Codec>::TYPE,
        }, )*]
    };
}

/// A byte that stands for one of a few choices; other numbers are refused.
macro_rules! choices {
    (
        $(#[doc = $doc:literal])+
        $name:ident {
            $( $(#[doc = $choice_doc:literal])+ $number:literal $choice:ident $word:literal, )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $( $(#[doc = $choice_doc])+ $choice = $number, )+
        }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$choice),+];

            const CHOICES: &'static $crate::native::schema::Choices =
                &$crate::native::schema::Choices {
                    name: stringify!($name),
                    doc: concat!($($doc, "\n"),+),
                    choices: &[$( $crate::native::schema::Choice {
                        number: $number,
                        name: $word,
                        doc: concat!($($choice_doc, "\n"),+),
                    }, )+],
                };

            /// The one with this number.
            #[inline]
            #[must_use]
            pub fn of(number: u8) -> Option<Self> {
                match number {
                    $( $number => Some($name::$choice), )+
                    _ => None,
                }
            }

            /// Its name in documents and vectors.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $( $name::$choice => $word, )+
                }
            }
        }

        impl<'a> $crate::native::codec::Codec<'a> for $name {
            const TYPE: $crate::native::schema::Type =
                $crate::native::schema::Type::Choice(Self::CHOICES);
            const LEN_MIN: usize = 1;

            #[inline]
            fn encoded_len(&self) -> usize {
                1
            }

            #[inline]
            fn encode<S: $crate::native::sink::Sink>(&self, out: &mut S) {
                out.put(&[*self as u8]);
            }

            #[inline]
            fn decode(
                input: &mut $crate::native::reader::Reader<'a>,
            ) -> Result<Self, $crate::native::reader::Malformed> {
                let [number] = input.array()?;
                Self::of(number).ok_or($crate::native::reader::Malformed::Choice)
            }
        }
    };
}

/// A set of bits in a word; some bits say that an operand follows the word. `switches` are the
/// bits without one; `closed` sets refuse bits that are not named, `open` ones ignore them.
macro_rules! options {
    (
        $(#[doc = $doc:literal])+
        $name:ident $(<$life:lifetime>)? $tag:literal: $word:ty, $open:ident {
            $( $(#[doc = $operand_doc:literal])+
               $operand_bit:literal $operand_name:ident $operand:ident: $kind:ty, )*
        } switches {
            $( $(#[doc = $switch_doc:literal])+ $switch_bit:literal $switch_name:ident, )*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Default)]
        pub struct $name $(<$life>)? {
            $( $(#[doc = $operand_doc])+ pub $operand: Option<$kind>, )*
            /// The bits that have no operand: an or of this type's constants.
            pub switches: $word,
        }

        impl $(<$life>)? $name $(<$life>)? {
            $( $(#[doc = $switch_doc])+ pub const $switch_name: $word = $switch_bit; )*
            const SWITCHES: $word = 0 $(| $switch_bit)*;
            const OPERANDS: $word = 0 $(| $operand_bit)*;
            const OPTIONS: &'static $crate::native::schema::Options =
                &$crate::native::schema::Options {
                    name: $tag,
                    doc: concat!($($doc, "\n"),+),
                    width: size_of::<$word>(),
                    open: $crate::native::declare::is_open!($open),
                    bits: &[
                        $( $crate::native::schema::Bit {
                            bit: $operand_bit,
                            name: stringify!($operand_name),
                            doc: concat!($($operand_doc, "\n"),+),
                            operand: Some(<$kind as $crate::native::codec::Codec>::TYPE),
                        }, )*
                        $( $crate::native::schema::Bit {
                            bit: $switch_bit,
                            name: stringify!($switch_name),
                            doc: concat!($($switch_doc, "\n"),+),
                            operand: None,
                        }, )*
                    ],
                };

            /// Whether all of these switches are on.
            #[inline]
            #[must_use]
            pub const fn has(&self, switches: $word) -> bool {
                self.switches & switches == switches
            }

            #[inline(always)]
            fn word(&self) -> $word {
                let word = self.switches & Self::SWITCHES;
                $( let word = word | if self.$operand.is_some() { $operand_bit } else { 0 }; )*
                word
            }
        }

        impl<'a> $crate::native::codec::Codec<'a> for $name $(<$life>)? {
            const TYPE: $crate::native::schema::Type =
                $crate::native::schema::Type::Options(Self::OPTIONS);
            const LEN_MIN: usize = size_of::<$word>();

            // A server knows which parts there are: inlined, most of this is gone.
            #[inline(always)]
            fn encoded_len(&self) -> usize {
                let len = size_of::<$word>();
                $( let len = len + match &self.$operand {
                    Some(operand) => $crate::native::codec::Codec::encoded_len(operand),
                    None => 0,
                }; )*
                len
            }

            #[inline(always)]
            fn encode<S: $crate::native::sink::Sink>(&self, out: &mut S) {
                self.word().encode(out);
                $( if let Some(operand) = &self.$operand {
                    $crate::native::codec::Codec::encode(operand, out);
                } )*
            }

            #[inline(always)]
            fn decode(
                input: &mut $crate::native::reader::Reader<'a>,
            ) -> Result<Self, $crate::native::reader::Malformed> {
                let word = <$word>::decode(input)?;
                let known = Self::SWITCHES | Self::OPERANDS;
                if !$crate::native::declare::is_open!($open) && word & !known != 0 {
                    return Err($crate::native::reader::Malformed::Bits);
                }
                $( let $operand = if word & $operand_bit == 0 {
                    None
                } else {
                    Some($crate::native::codec::Codec::decode(input)?)
                }; )*
                Ok($name { $($operand,)* switches: word & Self::SWITCHES })
            }
        }
    };
}

macro_rules! is_open {
    (open) => {
        true
    };
    (closed) => {
        false
    };
}

pub(super) use group::{group, or_nothing, reply, route, type_of_items, with_life};
pub(super) use {choices, fields, is_open, options, record};
