//! The vector of RFC 7677, both ends against each other, and everything that must be refused.

use super::verifier::Verifier;
use super::*;
use crate::base64;

const USER: &str = "user";
const PASSWORD: &[u8] = b"pencil";
const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn verifier() -> Verifier {
    let salt = base64::decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    Verifier::with(PASSWORD, &salt, 4_096)
}

#[test]
fn the_vector_of_rfc_7677() {
    let mut client = Client::with_nonce(USER, PASSWORD, CLIENT_NONCE.to_owned(), None, false);
    let first = client.first();
    assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let hello = Hello::read(first.as_bytes(), false, None).unwrap();
    assert_eq!(hello.user(), USER);
    let challenge = hello.challenge_with(verifier(), SERVER_NONCE);
    assert_eq!(challenge.message(), SERVER_FIRST);
    assert_eq!(client.prove(SERVER_FIRST.as_bytes()).unwrap(), CLIENT_FINAL);
    assert_eq!(challenge.finish(CLIENT_FINAL.as_bytes()).unwrap(), SERVER_FINAL);
    assert_eq!(client.verify(SERVER_FINAL.as_bytes()), Ok(()));
}

/// One whole login: what the server says at its end, and what the client makes of it.
fn login(
    password: &[u8],
    verifier: Verifier,
    client_binds: Option<&[u8]>,
    server_binds: Option<&[u8]>,
) -> Result<(), ScramError> {
    let mut client = Client::new("a=b,c", password, &[1; 18], client_binds, false);
    let hello = Hello::read(client.first().as_bytes(), client_binds.is_some(), server_binds)?;
    assert_eq!(hello.user(), "a=b,c");
    let challenge = hello.challenge(verifier, &[2; 18]);
    let proof = client.prove(challenge.message().as_bytes())?;
    client.verify(challenge.finish(proof.as_bytes())?.as_bytes())
}

#[test]
fn who_gets_in() {
    let real = || Verifier::derive(b"right", &[7; SALT_LEN]);
    let (tls, other) = (Some(&[9; 32][..]), Some(&[8; 32][..]));
    for (what, outcome, expected) in [
        ("the password", login(b"right", real(), None, None), Ok(())),
        ("another", login(b"wrong", real(), None, None), Err(ScramError::Proof)),
        ("none", login(b"", real(), None, None), Err(ScramError::Proof)),
        ("bound to the connection", login(b"right", real(), tls, tls), Ok(())),
        ("not bound, by choice", login(b"right", real(), None, tls), Ok(())),
        ("another connection", login(b"right", real(), tls, other), Err(ScramError::Binding)),
        ("no connection to bind", login(b"right", real(), tls, None), Err(ScramError::Binding)),
        (
            "nobody",
            login(b"right", Verifier::decoy(b"secret", "a=b,c"), None, None),
            Err(ScramError::Proof),
        ),
    ] {
        assert_eq!(outcome, expected, "{what}");
    }
}

#[test]
fn first_messages_that_are_refused() {
    use ScramError::{Authorization, Binding, Extension, Malformed};
    let tls = Some(&[9; 32][..]);
    for (message, plus, exporter, error) in [
        ("", false, None, Malformed),
        ("n,,", false, None, Malformed),
        ("n,,n=u", false, None, Malformed),
        ("n,,n=u,r=short", false, None, Malformed),
        ("n,,r=12345678,n=u", false, None, Malformed),
        ("n,,n=,r=12345678", false, None, Malformed),
        ("n,,n=a=b,r=12345678", false, None, Malformed),
        ("n,,n=a=2c,r=12345678", false, None, Malformed),
        ("n,,n=u,r=1234567\u{e9}", false, None, Malformed),
        ("x,,n=u,r=12345678", false, None, Malformed),
        ("n,,m=x,n=u,r=12345678", false, None, Extension),
        ("n,a=v,n=u,r=12345678", false, None, Authorization),
        ("n,b=u,n=u,r=12345678", false, None, Malformed),
        ("y,,n=u,r=12345678", false, tls, Binding),
        ("y,,n=u,r=12345678", true, tls, Binding),
        ("n,,n=u,r=12345678", true, tls, Binding),
        ("p=tls-unique,,n=u,r=12345678", true, tls, Binding),
        ("p=tls-exporter,,n=u,r=12345678", false, tls, Binding),
        ("p=tls-exporter,,n=u,r=12345678", true, None, Binding),
    ] {
        let read = Hello::read(message.as_bytes(), plus, exporter);
        assert_eq!(read.err(), Some(error), "{message} plus {plus}");
    }
    let good = Hello::read(b"y,a=u,n=u,r=12345678,x=later", false, None);
    assert_eq!(good.map(|hello| hello.user().to_owned()), Ok("u".to_owned()));
    let long = format!("n,,n=u,r={}", "x".repeat(5_000));
    assert_eq!(Hello::read(long.as_bytes(), false, None).err(), Some(Malformed));
    assert_eq!(Hello::read(b"n,,n=\xff,r=12345678", false, None).err(), Some(Malformed));
}

#[test]
fn last_messages_that_are_refused() {
    let hello = Hello::read(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", false, None).unwrap();
    let challenge = hello.challenge_with(verifier(), SERVER_NONCE);
    let changed = |from: &str, to: &str| CLIENT_FINAL.replace(from, to);
    for (message, error) in [
        (String::new(), ScramError::Malformed),
        (changed("p=d", "p=!"), ScramError::Malformed),
        (changed("VQ=", ""), ScramError::Malformed),
        (changed("c=", "d="), ScramError::Malformed),
        (changed("biws", "eSws"), ScramError::Binding),
        (changed("%hv", "%hw"), ScramError::Nonce),
        (changed("p=dH", "p=dI"), ScramError::Proof),
        (changed(",p=", ",x=1,p="), ScramError::Proof),
    ] {
        assert_eq!(challenge.finish(message.as_bytes()).err(), Some(error), "{message}");
    }
}

/// A proof that was overheard is worth nothing in the next login: the server's nonce differs.
#[test]
fn a_replay_is_refused() {
    let hello = || Hello::read(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", false, None).unwrap();
    let next = hello().challenge(verifier(), &[3; 18]);
    assert_eq!(next.finish(CLIENT_FINAL.as_bytes()).err(), Some(ScramError::Nonce));
}

#[test]
fn servers_that_a_client_does_not_trust() {
    let client = || Client::with_nonce(USER, PASSWORD, CLIENT_NONCE.to_owned(), None, false);
    for (first, error) in [
        ("r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ScramError::Nonce),
        ("r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ScramError::Nonce),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095", ScramError::Iterations),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=9000000", ScramError::Iterations),
        ("r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096", ScramError::Malformed),
        ("m=x,r=rOprNGfwEbeRWgbNEkqOx", ScramError::Extension),
        ("e=unknown-user", ScramError::Malformed),
    ] {
        assert_eq!(client().prove(first.as_bytes()).err(), Some(error), "{first}");
    }
    let mut client = client();
    assert_eq!(client.verify(SERVER_FINAL.as_bytes()), Err(ScramError::Malformed), "too early");
    client.prove(SERVER_FIRST.as_bytes()).unwrap();
    let wrong = SERVER_FINAL.replace("6r", "7r");
    assert_eq!(client.verify(wrong.as_bytes()), Err(ScramError::Proof));
    assert_eq!(client.verify(b"e=invalid-proof"), Err(ScramError::Refused));
}

#[test]
fn a_verifier_is_kept_as_text_and_never_shown() {
    let verifier = Verifier::derive(b"right", &[7; SALT_LEN]);
    let text = verifier.to_string();
    assert!(text.starts_with("SCRAM-SHA-256$15000:BwcHBwcHBwcHBwcHBwcHBw==$"), "{text}");
    assert_eq!(text.parse(), Ok(verifier.clone()));
    assert!(verifier.matches(b"right") && !verifier.matches(b"Right"));
    assert_eq!(format!("{verifier:?}"), "Verifier(..)");
    for bad in [
        "",
        "SCRAM-SHA-1$15000:BwcH$AAAA:AAAA",
        &text.replace("15000", "100"),
        &text.replace("$15000:", "$15000$"),
        &text.replace("=:", ":"),
    ] {
        assert!(bad.parse::<Verifier>().is_err(), "{bad}");
    }
}

#[test]
fn a_decoy_is_always_the_same_and_fits_nothing() {
    let decoy = |secret: &[u8], name| Verifier::decoy(secret, name);
    assert_eq!(decoy(b"s", "eve"), decoy(b"s", "eve"));
    assert_ne!(decoy(b"s", "eve").salt(), decoy(b"s", "adam").salt());
    assert_ne!(decoy(b"s", "eve").salt(), decoy(b"t", "eve").salt());
    let real = Verifier::derive(b"x", &[0; SALT_LEN]);
    let decoy = decoy(b"s", "eve");
    assert_eq!((decoy.salt().len(), decoy.iterations()), (real.salt().len(), real.iterations()));
    assert!(!decoy.matches(b"") && !decoy.matches(b"s"));
}
