//! Commands that are not compared with memcached 1.6.18, each with the reason. Keep it short.

const STORES: [&str; 6] = ["set", "add", "replace", "append", "prepend", "cas"];

/// Why a line or a packet is left out; None when it is compared.
pub fn skipped(command: &[u8]) -> Option<&'static str> {
    if let [0x80, opcode, key_high, key_low, extras, ..] = command {
        let body = u32::from_be_bytes(command.get(8..12)?.try_into().ok()?);
        let said = (u32::from(*key_high) << 8) + u32::from(*key_low) + u32::from(*extras);
        return (matches!(opcode, 0x1c..=0x1e | 0x23 | 0x24) && body != said)
            .then_some("1.6.18 takes the value of a touch for the next request");
    }
    let line = command.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split([' ', '\r']).filter(|word| !word.is_empty()).collect();
    let has = |letters: &[char]| words.iter().skip(2).any(|word| word.starts_with(letters));
    match words.first().copied().unwrap_or_default() {
        "" => Some("newer versions answer an empty line as a bad one"),
        "shutdown" => Some("newer versions answer SERVER_ERROR and not ERROR"),
        "mg" | "ms" | "md" | "ma" if has(&['E', 'x']) => Some("newer versions know E and x"),
        "mg" | "ms" | "md" | "ma" | "me" if has(&['b']) && words.get(1).is_some_and(is_odd) => {
            Some("1.6.18 passes over bytes of a base64 key that are not base64")
        }
        "mg" | "ms" | "md" | "ma" if mistakes(&words) > 1 => {
            Some("which of two mistakes is told first does not matter")
        }
        "mg" if has(&['C']) => Some("newer versions know C of mg"),
        "ms" if has(&['s', 'N']) => Some("newer versions know s and N of ms"),
        word if STORES.contains(&word) && is_refused(&words) => {
            Some("the data of a refused line is never taken for commands here")
        }
        _ => None,
    }
}

/// Flags that are wrong or there twice.
fn mistakes(words: &[&str]) -> usize {
    const WRONG: [&str; 12] =
        ["Fx", "Tx", "Cx", "Dx", "M", "MX", "Madd", "Mincr", "Z", "T", "?", "S"];
    let flags = words.get(2..).unwrap_or_default();
    let twice = |(at, flag): &(usize, &&str)| {
        flags.iter().take(*at).any(|before| before.get(..1) == flag.get(..1))
    };
    flags.iter().filter(|flag| WRONG.contains(flag)).count()
        + flags.iter().enumerate().filter(twice).count()
}

/// Base64 with something else in it.
fn is_odd(key: &&str) -> bool {
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    key.contains(of_base64) && !key.chars().all(of_base64)
}

/// Whether a storage line is wrong in anything but the length of its data.
fn is_refused(words: &[&str]) -> bool {
    let &[word, key, flags, exptime, len, ref more @ ..] = words else { return false };
    let cas_is_right = word != "cas" || more.first().is_some_and(|cas| cas.parse::<u64>().is_ok());
    let right = key.len() <= 250
        && flags.parse::<u32>().is_ok()
        && exptime.parse::<i32>().is_ok()
        && cas_is_right;
    len.parse::<i32>().is_ok() && !right
}
