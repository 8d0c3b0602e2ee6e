//! The first bytes on a connection: who speaks, and whether that is welcome.
//!
//! Whoever connects says a hello, the other one answers, both in an [envelope](super::envelope).
//! What is in a body keeps its place in all versions to come; new fields go behind it.
//!
//! | hello | bytes | answer | bytes |
//! |---|---|---|---|
//! | lowest version | 2 | 0, or the number of a [`Refusal`] | 1 |
//! | highest version | 2 | 0: the version | 2 |
//! | lane | 1 | 0: window of credit, bytes | 4 |
//! | cluster | 2 and as many as they say | else: why | 2 and as many as they say |
//! | the sender's address for peers | 2 and as many as they say | | |

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncRead;
use tokio::time::timeout;

use super::envelope::{Fields, put_text, read_body, seal};
use super::lane::Lane;

/// The versions of the protocol that are spoken here.
pub const VERSIONS: (u16, u16) = (1, 2);
/// From this version on envelopes may be short, and copies get records as patches.
pub const SHORT: u16 = 2;
/// What somebody reads who took this port for another one.
pub const NO_PEER: &[u8] = b"ERROR this port is for the peers of an Isogrid cluster\r\n";

/// Who connects, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The lowest and the highest version that it speaks.
    pub versions: (u16, u16),
    /// The number of the lane.
    pub lane: u8,
    /// Its cluster.
    pub cluster: String,
    /// Where its peers reach it.
    pub address: String,
}

/// What is said to a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Frames may come.
    Welcome {
        /// In this version.
        version: u16,
        /// As many bytes of them before the first grant.
        window: u32,
    },
    /// Go away; the text is for a log.
    Refused(String),
}

/// Why a hello is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is of another cluster.
    #[error("this is cluster {ours:?}, and {theirs:?} is another one")]
    OtherCluster {
        /// Here.
        ours: String,
        /// There.
        theirs: String,
    },
    /// No version is spoken by both.
    #[error("versions {} to {} are spoken here, {} to {} there", VERSIONS.0, VERSIONS.1, .0.0, .0.1)]
    NoCommonVersion((u16, u16)),
    /// There is no such lane.
    #[error("there is no lane {0} here")]
    UnknownLane(u8),
    /// Too many peers are connected.
    #[error("too many connections of peers")]
    Crowded,
}

impl Refusal {
    /// Its number. Numbers are never given anew.
    fn code(&self) -> u8 {
        match self {
            Refusal::OtherCluster { .. } => 1,
            Refusal::NoCommonVersion(_) => 2,
            Refusal::UnknownLane(_) => 3,
            Refusal::Crowded => 4,
        }
    }
}

/// Why what came is no handshake.
#[derive(Debug, Error)]
pub enum NoHandshake {
    /// It began with other bytes; a part of them.
    #[error("it does not speak the protocol of peers: it began with \"{}\"", .0.escape_ascii())]
    NoPeer(Vec<u8>),
    /// It speaks TLS, and here nobody does.
    #[error("it speaks TLS, and this process has no certificate for peers")]
    Tls,
    /// There is no TLS with it.
    #[error("no TLS with a certificate of a member: {0}")]
    NoTls(io::Error),
    /// It is not what its checksum says, or too long, or its fields are not all there.
    #[error("its handshake is damaged")]
    Damaged,
    /// It took too long.
    #[error("it did not say who it is in time")]
    Late,
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Hello {
    /// What is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(self.versions.0.to_le_bytes());
        body.extend(self.versions.1.to_le_bytes());
        body.push(self.lane);
        put_text(&mut body, &self.cluster);
        put_text(&mut body, &self.address);
        seal(&body)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`NoHandshake`].
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self, NoHandshake> {
        let body = read_body(stream).await?;
        let mut fields = Fields(&body);
        let mut parse = || {
            let versions = (fields.u16()?, fields.u16()?);
            let [lane] = fields.array()?;
            Some(Hello { versions, lane, cluster: fields.text()?, address: fields.text()? })
        };
        parse().ok_or(NoHandshake::Damaged)
    }

    /// The version and the lane to speak with a process that says this, when ours is `cluster`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn judge(&self, cluster: &str) -> Result<(u16, Lane), Refusal> {
        let version = self.versions.1.min(VERSIONS.1);
        if version < self.versions.0.max(VERSIONS.0) {
            return Err(Refusal::NoCommonVersion(self.versions));
        }
        if self.cluster != cluster {
            let (ours, theirs) = (cluster.to_owned(), self.cluster.clone());
            return Err(Refusal::OtherCluster { ours, theirs });
        }
        let lane = Lane::of_code(self.lane).ok_or(Refusal::UnknownLane(self.lane))?;
        Ok((version, lane))
    }
}

impl Answer {
    /// What is sent to welcome.
    pub fn welcome(version: u16, window: u32) -> Vec<u8> {
        let mut body = vec![0];
        body.extend(version.to_le_bytes());
        body.extend(window.to_le_bytes());
        seal(&body)
    }

    /// What is sent to refuse.
    pub fn refused(refusal: &Refusal) -> Vec<u8> {
        let mut body = vec![refusal.code()];
        put_text(&mut body, &refusal.to_string());
        seal(&body)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`NoHandshake`].
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self, NoHandshake> {
        let body = read_body(stream).await?;
        let mut fields = Fields(&body);
        let mut parse = || match fields.array()? {
            [0] => {
                let version = fields.u16().filter(|v| (VERSIONS.0..=VERSIONS.1).contains(v))?;
                Some(Answer::Welcome { version, window: u32::from_le_bytes(fields.array()?) })
            }
            [_] => Some(Answer::Refused(fields.text()?)),
        };
        parse().ok_or(NoHandshake::Damaged)
    }
}

/// A part of a handshake, which must not take longer than `patience`.
///
/// # Errors
/// [`NoHandshake`].
pub async fn within<T>(
    patience: Duration,
    part: impl Future<Output = Result<T, NoHandshake>>,
) -> Result<T, NoHandshake> {
    timeout(patience, part).await.unwrap_or(Err(NoHandshake::Late))
}

#[cfg(test)]
mod tests;
