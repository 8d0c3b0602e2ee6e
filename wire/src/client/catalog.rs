//! What objects there are: making, listing, describing, changing and dropping them; and the
//! methods of administration. Documents come as JSON values, as docs/PROTOCOL.md has them.
//!
//! ```no_run
//! use isogrid_wire::client::{Client, Error};
//! use isogrid_wire::native::catalog::ObjectKind;
//! use serde_json::json;
//!
//! # async fn example(client: Client) -> Result<(), Error> {
//! let catalog = client.catalog();
//! let made = catalog.create(ObjectKind::Cache, "orders", &json!({"ttl": "10m"})).await?;
//! assert_eq!(made.props["ttl"], "10m");
//! catalog.alter(ObjectKind::Cache, "orders", &json!({"ttl": "20m"})).await?;
//! let info = client.admin("node.info", &json!({})).await?;
//! println!("{} has {} threads", info["name"], info["threads"]);
//! # Ok(())
//! # }
//! ```

use serde_json::Value;

use tokio::sync::mpsc;

use super::Client;
use super::error::{Cause, Error};
use super::handle::{Handle, UNBOUNDED, decode, parsed};
use super::stream::{Forward, Piece};
use crate::native::admin::{Call, CallReply, Progress, Stream, StreamReply};
use crate::native::catalog::{
    Alter, AlterReply, Create, CreateMode, CreateReply, Describe, DescribeReply, Drop, DropReply,
    ListObjects, ListReply, ObjectKind,
};
use crate::native::{Codec, Json, List, Malformed, Reader};

/// The catalog of a server or a cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    handle: Handle,
}

/// An object that was opened or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Whether this request made it.
    pub created: bool,
    /// All its options, a JSON object.
    pub props: Value,
}

impl Client {
    /// What objects there are.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        Catalog { handle: self.handle.clone() }
    }

    /// Calls a method of administration with its parameters, a JSON object, and returns its
    /// document. Executed once, however often it has to be sent.
    ///
    /// # Errors
    ///
    /// `NO_SUCH_OBJECT`: there is no such method, or what a parameter names is not there;
    /// `INVALID_ARGUMENT`: it takes other parameters. Else the request has no answer.
    pub async fn admin(&self, method: &str, arguments: &Value) -> Result<Value, Error> {
        let arguments = arguments.to_string();
        let call = Call { method, arguments: Json(&arguments) };
        let reply = self.handle.call(self.handle.request(&call)).await?;
        let CallReply::Ok { result } = decode::<Call<'_>>(&reply)?;
        // It has been executed, whatever it says.
        result.parse().map_err(|malformed| Error::unknown(Cause::Malformed(malformed)))
    }
}

impl Client {
    /// As [`Client::admin`], for a method that takes a while: `told` gets each step that the server
    /// tells. There is no time limit. Whoever drops the future stops listening; the method goes on.
    ///
    /// # Errors
    ///
    /// As [`Client::admin`].
    pub async fn admin_told(
        &self,
        method: &str,
        arguments: &Value,
        mut told: impl FnMut(Value),
    ) -> Result<Value, Error> {
        let arguments = arguments.to_string();
        let stream = Stream { method, arguments: Json(&arguments), credit: STEPS };
        let mut request = self.handle.request(&stream);
        request.credit = STEPS;
        let unknown = |malformed| Error::unknown(Cause::Malformed(malformed));
        let (to, mut pieces) = mpsc::unbounded_channel();
        let interest = self.handle.stream(request, Box::new(Forward(to)))?;
        loop {
            match pieces.recv().await {
                Some(Piece::Opened) => {}
                Some(Piece::Items(payload)) => {
                    let mut input = Reader::new(&payload, &UNBOUNDED);
                    let steps = List::<Progress<'_>>::decode(&mut input).map_err(unknown)?;
                    interest.credit(u32::try_from(steps.len()).unwrap_or(STEPS));
                    // What cannot be read is as one that was left out.
                    steps
                        .iter()
                        .for_each(|step| step.progress.parse().into_iter().for_each(&mut told));
                }
                Some(Piece::Ended(end)) => {
                    let reply = end?;
                    let StreamReply::Ended { result } = decode::<Stream<'_>>(&reply)?;
                    return result.parse().map_err(unknown);
                }
                None => return Err(Error::unknown(Cause::Closed)),
            }
        }
    }
}

/// Steps of a method that may be on their way.
const STEPS: u32 = 64;

/// Errors of all methods: the request has no answer, and its outcome says whether it was executed.
impl Catalog {
    /// Opens an object, or makes it: of several callers at once exactly one does. `options` is a
    /// JSON object; those that it names must be those that an object which is there has.
    ///
    /// # Errors
    ///
    /// As above; `OBJECT_EXISTS`: it has other options, and the refusal's details say which.
    pub async fn create(
        &self,
        kind: ObjectKind,
        name: &str,
        options: &Value,
    ) -> Result<Created, Error> {
        let (mode, options) = (CreateMode::OpenOrCreate, options.to_string());
        let create = Create { kind, name, mode, options: Json(&options) };
        let reply = self.handle.call(self.handle.request(&create)).await?;
        let CreateReply::Ok { created, props, .. } = decode::<Create<'_>>(&reply)?;
        Ok(Created { created, props: parsed(&props)? })
    }

    /// The objects of a kind whose names match (`*`, `?` and `[..]`; empty: all), each as `kind`,
    /// `name` and `id`, in the order of their names.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn list(&self, kind: ObjectKind, glob: &str) -> Result<Vec<Value>, Error> {
        let reply = self.handle.call(self.handle.request(&ListObjects { kind, glob })).await?;
        let ListReply::Ok { objects } = decode::<ListObjects<'_>>(&reply)?;
        match parsed(&objects)?.get_mut("objects").map(Value::take) {
            Some(Value::Array(objects)) => Ok(objects),
            _ => Err(Error::failed(Cause::Malformed(Malformed::Json))),
        }
    }

    /// `id`, `name`, `kind`, `origin`, `props` and `stats` of an object; `None` if it is not
    /// there.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn describe(&self, kind: ObjectKind, name: &str) -> Result<Option<Value>, Error> {
        let reply = self.handle.call(self.handle.request(&Describe { kind, name })).await?;
        match decode::<Describe<'_>>(&reply)? {
            DescribeReply::Ok { object } => parsed(&object).map(Some),
            DescribeReply::NotFound {} => Ok(None),
        }
    }

    /// Changes the options that are named, of those that change while an object is in use: all its
    /// options then; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// As above; `INVALID_ARGUMENT`: there is no such option, or it does not change.
    pub async fn alter(
        &self,
        kind: ObjectKind,
        name: &str,
        options: &Value,
    ) -> Result<Option<Value>, Error> {
        let options = options.to_string();
        let alter = Alter { kind, name, options: Json(&options) };
        let reply = self.handle.call(self.handle.request(&alter)).await?;
        match decode::<Alter<'_>>(&reply)? {
            AlterReply::Ok { props } => parsed(&props).map(Some),
            AlterReply::NotFound {} => Ok(None),
        }
    }

    /// Drops an object and all that is in it; whether it was there. Sent twice behind a connection
    /// that broke, the second answer counts.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn drop_object(&self, kind: ObjectKind, name: &str) -> Result<bool, Error> {
        let reply = self.handle.call(self.handle.request(&Drop { kind, name })).await?;
        Ok(decode::<Drop<'_>>(&reply)? == DropReply::Ok {})
    }
}
