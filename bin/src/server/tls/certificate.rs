//! The two things that are read from certificates here: when one ends and whom it names. Whether
//! it is good was decided before, by the handshake.
//!
//! DER (ITU-T X.690) as RFC 5280, section 4.1 uses it. What cannot be read is not there.

use rustls::pki_types::CertificateDer;

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Elements one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and what is in it.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (len, rest) = match *first {
            short @ ..0x80 => (usize::from(short), rest),
            long => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                if !(1..=4).contains(&bytes.len()) {
                    return None;
                }
                (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
            }
        };
        let (inside, behind) = rest.split_at_checked(len)?;
        self.0 = behind;
        Some((*tag, inside))
    }

    /// What is in the next element, which has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, inside)| inside)
    }
}

/// Validity and subject.
fn fields<'a>(certificate: &'a CertificateDer<'_>) -> Option<(&'a [u8], &'a [u8])> {
    let signed = Der(Der(certificate.as_ref()).expect(SEQUENCE)?).expect(SEQUENCE)?;
    let mut fields = Der(signed);
    if signed.first() == Some(&VERSION) {
        fields.next()?;
    }
    fields.expect(INTEGER)?;
    let _algorithm = fields.expect(SEQUENCE)?;
    let _issuer = fields.expect(SEQUENCE)?;
    Some((fields.expect(SEQUENCE)?, fields.expect(SEQUENCE)?))
}

/// When a certificate ends, Unix ms.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (validity, _) = fields(certificate)?;
    let mut times = Der(validity);
    times.next()?;
    let (tag, text) = times.next()?;
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let year_len = match tag {
        UTC_TIME => 2,
        GENERALIZED_TIME => 4,
        _ => return None,
    };
    let (year, rest) = digits.split_at_checked(year_len)?;
    let year: u64 = year.parse().ok()?;
    let year = match (tag, year) {
        (UTC_TIME, 50..) => 1900 + year,
        (UTC_TIME, _) => 2000 + year,
        _ => year,
    };
    let part = |at: usize| rest.get(at * 2..at * 2 + 2)?.parse::<u64>().ok();
    let (month, day) = (part(0)?, part(1)?);
    let days = days_since_1970(year, month, day)?;
    Some((((days * 24 + part(2)?) * 60 + part(3)?) * 60 + part(4)?) * 1_000)
}

/// Days from 1970 to a day of the Gregorian calendar, counted in years that begin in March.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.checked_sub(719_468)
}

/// The common name of a certificate's subject: the last one, the most particular.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, subject) = fields(certificate)?;
    let mut name = None;
    let mut sets = Der(subject);
    while let Some(set) = sets.expect(SET) {
        let mut pairs = Der(set);
        while let Some(pair) = pairs.expect(SEQUENCE) {
            let mut pair = Der(pair);
            let is_name = pair.expect(OBJECT_IDENTIFIER)? == COMMON_NAME;
            let (tag, value) = pair.next()?;
            if is_name && matches!(tag, UTF8_STRING | PRINTABLE_STRING) {
                name = std::str::from_utf8(value).ok().map(str::to_owned);
            }
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(name: &str, end: (i32, u8, u8)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "Org");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(end.0, end.1, end.2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn ends_and_names() {
        for (name, end, seconds) in [
            ("app", (2026, 11, 22), 1_795_305_600),
            ("b", (2000, 2, 29), 951_782_400),
            ("ü", (2049, 12, 31), 2_524_521_600),
            ("after UTCTime", (2100, 3, 1), 4_107_542_400),
        ] {
            let certificate = certificate(name, end);
            assert_eq!(not_after(&certificate), Some(seconds * 1_000), "{name}");
            assert_eq!(common_name(&certificate).as_deref(), Some(name));
        }
    }

    /// Whatever is cut or changed, nothing panics.
    #[test]
    fn rubbish_is_nothing() {
        let whole = certificate("app", (2026, 1, 1));
        for len in 0..whole.len() {
            let cut = CertificateDer::from(whole[..len].to_vec());
            assert_eq!((not_after(&cut), common_name(&cut)), (None, None), "{len}");
            let mut changed = whole.to_vec();
            changed[len] ^= 0xff;
            let changed = CertificateDer::from(changed);
            let _ = (not_after(&changed), common_name(&changed));
        }
    }
}
