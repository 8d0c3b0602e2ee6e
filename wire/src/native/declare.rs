//! The macros by which everything is declared once: a type, its two codecs and its description.

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

            #[inline]
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

            #[inline]
            fn encoded_len(&self) -> usize {
                let len = size_of::<$word>();
                $( let len = len + self.$operand.as_ref()
                    .map_or(0, $crate::native::codec::Codec::encoded_len); )*
                len
            }

            #[inline]
            fn encode<S: $crate::native::sink::Sink>(&self, out: &mut S) {
                self.word().encode(out);
                $( if let Some(operand) = &self.$operand {
                    $crate::native::codec::Codec::encode(operand, out);
                } )*
            }

            #[inline]
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

/// A group of operations: for each its request, its replies and its description; for all of them
/// one enum of requests.
macro_rules! group {
    (
        $(#[doc = $group_doc:literal])+
        $group_number:literal $group:literal;
        reserved { $( $reserved_code:literal $reserved_name:literal, )* }
        $(
            $(#[doc = $doc:literal])+
            $code:literal $name:ident $request:ident $(<$life:lifetime>)?
            ($repeat:ident, $permission:ident, $route:ident)
            { $( $(#[doc = $field_doc:literal])+ $field:ident: $kind:ty, )* }
            => $reply:ident $(<$reply_life:lifetime>)?
            { $(
                $(#[doc = $status_doc:literal])+
                $status:ident { $( $(#[doc = $out_doc:literal])+ $out:ident: $out_kind:ty, )* }
            )+ }
            $( items $item:ty $(, trailer $trailer:ty)?; )?
        )+
    ) => {
        /// The group as documents and generators see it.
        pub const GROUP: &$crate::native::schema::Group = &$crate::native::schema::Group {
            number: $group_number,
            name: $group,
            doc: concat!($($group_doc, "\n"),+),
            operations: &[$( <$request as $crate::native::operation::Call>::OPERATION, )+],
            reserved: &[$( ($reserved_code, $reserved_name), )*],
        };

        /// Any request of the group.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum Request<'a> {
            $( $(#[doc = $doc])+ $request($request $(<$life>)?), )+
        }

        impl<'a> Request<'a> {
            /// Decodes the body of the operation `code`; `None` if the group has none of this
            /// number.
            ///
            /// # Errors
            ///
            /// What is wrong with the body.
            #[inline]
            pub fn decode(
                code: u16,
                body: $crate::native::reader::Reader<'a>,
            ) -> Option<Result<Self, $crate::native::reader::Malformed>> {
                match code {
                    $( $code =>
                        Some($crate::native::codec::decode_all(body).map(Request::$request)), )+
                    _ => None,
                }
            }

            /// What is asked for.
            #[must_use]
            pub fn operation(&self) -> &'static $crate::native::schema::Operation {
                match self {
                    $( Request::$request(_) =>
                        <$request as $crate::native::operation::Call>::OPERATION, )+
                }
            }

            /// Appends the body.
            pub fn encode<S: $crate::native::sink::Sink>(&self, out: &mut S) {
                match self {
                    $( Request::$request(body) =>
                        $crate::native::codec::Codec::encode(body, out), )+
                }
            }
        }

        $(
            $crate::native::declare::record! {
                $(#[doc = $doc])+
                $request $(<$life>)? { $( $(#[doc = $field_doc])+ $field: $kind, )* }
            }

            $crate::native::declare::reply! {
                #[doc = concat!("The answers to `", stringify!($name), "`.")]
                $reply $(<$reply_life>)? { $(
                    $(#[doc = $status_doc])+
                    $status { $( $(#[doc = $out_doc])+ $out: $out_kind, )* }
                )+ }
            }

            impl $crate::native::operation::Call
                for $crate::native::declare::with_life!('_ $request $($life)?)
            {
                const OPERATION: &'static $crate::native::schema::Operation =
                    &$crate::native::schema::Operation {
                        code: $code,
                        group: $group,
                        name: stringify!($name),
                        doc: concat!($($doc, "\n"),+),
                        since: 1,
                        repeat: $crate::native::schema::Repeat::$repeat,
                        permission: $crate::native::schema::Permission::$permission,
                        route: $crate::native::declare::route!($route),
                        request: $request::RECORD,
                        replies: $reply::REPLIES,
                        item: $crate::native::declare::type_of_items!(Item $($item)?),
                        trailer: $crate::native::declare::type_of_items!(Trailer $($($trailer)?)?),
                        recode_reply: $crate::native::operation::recode_reply::<
                            $crate::native::declare::with_life!('static $request $($life)?),
                        >,
                        recode_items: $crate::native::operation::recode_items::<
                            $crate::native::declare::with_life!('static $request $($life)?),
                        >,
                    };
                type Reply<'a> = $reply $(<$reply_life>)?;
                type Item<'a> = $crate::native::declare::or_nothing!($($item)?);
                type Trailer<'a> = $crate::native::declare::or_nothing!($($($trailer)?)?);
            }
        )+
    };
}

/// The replies of one operation: a status byte, and the fields that go with it.
macro_rules! reply {
    (
        #[doc = $doc:expr]
        $name:ident $(<$life:lifetime>)? { $(
            $(#[doc = $status_doc:literal])+
            $status:ident { $( $(#[doc = $field_doc:literal])+ $field:ident: $kind:ty, )* }
        )+ }
    ) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum $name $(<$life>)? {
            $(
                $(#[doc = $status_doc])+
                $status { $( $(#[doc = $field_doc])+ $field: $kind, )* },
            )+
        }

        impl $(<$life>)? $name $(<$life>)? {
            const REPLIES: &'static [$crate::native::schema::Reply] = &[$(
                $crate::native::schema::Reply {
                    status: $crate::native::status::Status::$status,
                    doc: concat!($($status_doc, "\n"),+),
                    fields: $crate::native::declare::fields!(
                        $( $(#[doc = $field_doc])+ $field: $kind, )*
                    ),
                },
            )+];
        }

        impl<'a> $crate::native::operation::Answer<'a> for $name $(<$life>)? {
            #[inline]
            fn status(&self) -> $crate::native::status::Status {
                match self {
                    $( $name::$status { .. } => $crate::native::status::Status::$status, )+
                }
            }

            #[inline]
            fn encoded_len(&self) -> usize {
                match self {
                    $( $name::$status { $($field),* } =>
                        1 $(+ $crate::native::codec::Codec::encoded_len($field))*, )+
                }
            }

            #[inline]
            fn encode<S: $crate::native::sink::Sink>(&self, out: &mut S) {
                out.put(&[self.status() as u8]);
                match self {
                    $( $name::$status { $($field),* } => {
                        $( $crate::native::codec::Codec::encode($field, out); )*
                    } )+
                }
            }

            #[inline]
            fn decode(
                input: &mut $crate::native::reader::Reader<'a>,
            ) -> Result<Self, $crate::native::reader::Malformed> {
                match $crate::native::codec::Codec::decode(input)? {
                    $( $crate::native::status::Status::$status => {
                        $( let $field = $crate::native::codec::Codec::decode(input)?; )*
                        Ok($name::$status { $($field),* })
                    } )+
                    _ => Err($crate::native::reader::Malformed::Status),
                }
            }
        }
    };
}

/// A type with another lifetime than it was declared with, if it has one.
macro_rules! with_life {
    ($new:lifetime $name:ident) => { $name };
    ($new:lifetime $name:ident $old:lifetime) => { $name<$new> };
}

macro_rules! route {
    (none) => {
        None
    };
    ($field:ident) => {
        Some(stringify!($field))
    };
}

macro_rules! type_of_items {
    ($part:ident) => {
        None
    };
    ($part:ident $kind:ty) => {
        Some(<Self::$part<'static> as $crate::native::codec::Codec<'static>>::TYPE)
    };
}

macro_rules! or_nothing {
    () => {
        $crate::native::operation::Nothing
    };
    ($kind:ty) => {
        $kind
    };
}

pub(super) use {
    choices, fields, group, is_open, options, or_nothing, record, reply, route, type_of_items,
    with_life,
};
