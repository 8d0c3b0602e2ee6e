//! Group 0x0A: administration, by the methods of HTTP's `/v1/admin`.

use super::blob::Json;
use super::declare::{group, record};

record! {
    /// A step of a method that takes a while.
    Progress<'a> {
        /// `done`, `total`, `unit` and what the method adds.
        progress: Json<'a>,
    }
}

group! {
    /// Administration: the same methods and documents as HTTP's `/v1/admin`. The object of these
    /// requests is 0. A method that only shows takes the permission `monitor` instead.
    0x0a "admin";
    reserved {}

    /// Calls a method.
    0x0a01 CALL Call<'a> (Dedup, ClusterAdmin, none) {
        /// Its name, such as `config.get`.
        method: &'a str,
        /// Its arguments.
        arguments: Json<'a>,
    } => CallReply<'a> {
        /// Done.
        Ok {
            /// What it returned.
            result: Json<'a>,
        }
    }

    /// Calls a method that takes a while, and tells how far it is.
    0x0a02 STREAM Stream<'a> (Stream, ClusterAdmin, none) {
        /// Its name.
        method: &'a str,
        /// Its arguments.
        arguments: Json<'a>,
        /// How many steps may be told before CREDIT comes. Those that may not are left out.
        credit: u32,
    } => StreamReply<'a> {
        /// Done.
        Ended {
            /// What it returned.
            result: Json<'a>,
        }
    }
    items Progress<'a>;
}
