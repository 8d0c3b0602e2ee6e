//! The macros that declare operations: a group of them, and the replies of one.

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
            #[inline(always)]
            fn status(&self) -> $crate::native::status::Status {
                match self {
                    $( $name::$status { .. } => $crate::native::status::Status::$status, )+
                }
            }

            #[inline(always)]
            fn encoded_len(&self) -> usize {
                match self {
                    $( $name::$status { $($field),* } =>
                        1 $(+ $crate::native::codec::Codec::encoded_len($field))*, )+
                }
            }

            #[inline(always)]
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

pub(in crate::native) use {group, or_nothing, reply, route, type_of_items, with_life};
