//! Who asks: by a password (`Authorization: Basic`), a token (`Bearer`) or a client certificate.
//!
//! A password is slow to check on purpose, so a connection keeps what it was logged in with last:
//! the next request with the same header is not checked again, unless the users have changed.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use isogrid_wire::base64;

use super::problem::{Code, Problem};
use crate::security::Identity;
use crate::server::connections::{Info, WHOLE};
use crate::server::login::{self, Client, LoggedIn};
use crate::server::newcomers::Stay;
use crate::server::node::Node;

/// The other end of a connection.
pub struct Caller {
    /// Where it is.
    pub client: Client,
    info: Arc<Info>,
    known: Mutex<Known>,
}

/// A request that is being answered.
pub struct Asking(Arc<Info>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.set_in_flight(0);
    }
}

#[derive(Default)]
struct Known {
    /// Who the client's certificate says that it is.
    certificate: Option<LoggedIn>,
    /// The last header that somebody logged in with, and who.
    header: Option<(HeaderValue, LoggedIn)>,
    /// Its place among those who have not logged in.
    stay: Option<Stay>,
}

impl Caller {
    /// The other end of a new connection.
    pub fn new(node: &Node, info: &Arc<Info>, client: Client) -> Self {
        let required = node.security.is_required();
        let certificate = login::certificate(node, &client).filter(|_| required);
        let newcomer = required && certificate.is_none();
        let stay = newcomer.then(|| node.unauthenticated.enter(info, node.now()));
        let known = Mutex::new(Known { certificate, header: None, stay });
        Caller { client, info: Arc::clone(info), known }
    }

    /// Its request is being answered until this is dropped.
    pub fn asks(&self) -> Asking {
        self.info.set_in_flight(1);
        // Its headers have come, and nobody knows how long the answer takes.
        self.info.set_received(WHOLE / 2);
        Asking(Arc::clone(&self.info))
    }

    /// Who asks with these headers; `None` for nobody.
    ///
    /// # Errors
    /// What the header says is not right, or not understood.
    pub async fn identity(
        &self,
        node: &Arc<Node>,
        headers: &HeaderMap,
    ) -> Result<Option<Identity>, Problem> {
        let Some(header) = headers.get(AUTHORIZATION) else {
            return Ok(self.known(|known| again(node, &mut known.certificate)));
        };
        if let Some(identity) = self.known(|known| known.by_header(node, header)) {
            return Ok(Some(identity));
        }
        let who = self.log_in(node, header).await?;
        let identity = who.identity.clone();
        self.known(|known| (known.header, known.stay) = (Some((header.clone(), who)), None));
        Ok(Some(identity))
    }

    async fn log_in(&self, node: &Arc<Node>, header: &HeaderValue) -> Result<LoggedIn, Problem> {
        let wrong = || Problem::new(Code::AuthFailed, "the name, password or token is not right");
        let (scheme, rest) = header.as_bytes().split_at(header.len().min(6));
        if scheme.eq_ignore_ascii_case(b"basic ") {
            let text = base64::decode(rest.trim_ascii()).ok_or_else(wrong)?;
            let at = text.iter().position(|byte| *byte == b':').ok_or_else(wrong)?;
            let (user, password) = text.split_at(at);
            let password = password.get(1..).unwrap_or_default().to_vec();
            let (node, client) = (Arc::clone(node), self.client.clone());
            return login::password(node, client, user.to_vec(), password).await.ok_or_else(wrong);
        }
        let token = header.to_str().ok().and_then(|text| text.split_once(' '));
        match token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
            Some((_, token)) => login::token(node, &self.client, token.trim()).ok_or_else(wrong),
            None => Err(Problem::new(Code::AuthFailed, "`Authorization` is Basic or Bearer here")),
        }
    }

    fn known<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    fn by_header(&mut self, node: &Node, header: &HeaderValue) -> Option<Identity> {
        let (_, who) = self.header.take_if(|(known, _)| known == header)?;
        let mut who = Some(who);
        let identity = again(node, &mut who);
        self.header = who.map(|who| (header.clone(), who));
        identity
    }
}

/// Who somebody is now that the users may have changed.
fn again(node: &Node, who: &mut Option<LoggedIn>) -> Option<Identity> {
    *who = who.take().and_then(|who| who.again(&node.security));
    who.as_ref().map(|who| who.identity.clone())
}
