//! Random meta commands.

use super::command::Command;
use super::random::Random;
use super::text::{EXPTIMES, value};

/// The text protocol's keys, and two of them in base64.
const KEYS: [&str; 6] = ["a", "b", "n", "k\u{e9}", "YQ== b", "Yg== b"];

pub fn command(random: &mut Random) -> Command {
    let key = random.pick(&KEYS);
    match random.below(14) {
        0..=4 => with_flags(random, &format!("mg {key}"), get_flag),
        5..=8 => store(random, key),
        9 | 10 => with_flags(random, &format!("md {key}"), delete_flag),
        11 | 12 => with_flags(random, &format!("ma {key}"), count_flag),
        _ => {
            let line = random.pick(&[
                "mn",
                "mn x",
                "me a",
                "me none",
                "me YQ== b",
                "me",
                "mg",
                "ms",
                "ms a",
                "ms a x",
                "ms a -1",
                "ms a S2",
                "md",
                "ma",
                "mg a ?",
                "mg a S",
                "mg a vv",
                "mg !!! b v",
                "mg Zm9 b",
                "ma n MX",
                "ma n Mincr",
                "md a x",
                "mg none k O1 q",
                "mg none v q",
            ]);
            Command::new(format!("{line}\r\n"))
        }
    }
}

/// The line with up to four flags; the same one twice is an error, which is welcome now and then.
fn with_flags(random: &mut Random, line: &str, flag: fn(&mut Random) -> String) -> Command {
    let mut line = line.to_owned();
    for _ in 0..random.below(5) {
        line.push(' ');
        line.push_str(&flag(random));
    }
    line.push_str("\r\n");
    Command::new(line).with_decimal_cas(random.below(4))
}

fn store(random: &mut Random, key: &str) -> Command {
    let value = value(random);
    // The flag b of a base64 key stands behind the length.
    let (key, binary) = key.split_once(' ').unwrap_or((key, ""));
    let line = format!("ms {key} {} {binary}", value.len());
    let mut command = with_flags(random, line.trim_end(), store_flag);
    command.extend(&[value.as_slice(), b"\r\n"].concat());
    command
}

fn get_flag(random: &mut Random) -> String {
    let exptime = random.pick(&EXPTIMES);
    match random.below(16) {
        0..=2 => "v".to_owned(),
        3 => format!("T{exptime}"),
        4 => random.pick(&["N30", "N2000", "N0", "N-1"]).to_owned(),
        5 => "R500".to_owned(),
        6 => "R2592000".to_owned(),
        7 => "Oopaque".to_owned(),
        8 => "u".to_owned(),
        _ => random.pick(&["c", "f", "h", "k", "l", "s", "t", "q"]).to_owned(),
    }
}

fn store_flag(random: &mut Random) -> String {
    let exptime = random.pick(&EXPTIMES);
    match random.below(12) {
        0 => "C{cas}".to_owned(),
        1 => "I".to_owned(),
        2 => format!("T{exptime}"),
        3 => "F9".to_owned(),
        4..=7 => random.pick(&["ME", "MA", "MP", "MR", "MS", "MX", "M", "Madd"]).to_owned(),
        8 => "Oopaque".to_owned(),
        9 => "q".to_owned(),
        _ => random.pick(&["c", "k", "b", "Tx", "Fx", "Cx", "Z"]).to_owned(),
    }
}

fn delete_flag(random: &mut Random) -> String {
    match random.below(7) {
        0 => "C{cas}".to_owned(),
        1 | 2 => "I".to_owned(),
        3 => "T2000".to_owned(),
        4 => "Oopaque".to_owned(),
        _ => random.pick(&["k", "q", "v", "T"]).to_owned(),
    }
}

fn count_flag(random: &mut Random) -> String {
    let exptime = random.pick(&EXPTIMES);
    match random.below(13) {
        0 => "C{cas}".to_owned(),
        1 => format!("N{exptime}"),
        2 => "J13".to_owned(),
        3 => random.pick(&["D5", "D100", "D18446744073709551615", "Dx"]).to_owned(),
        4 => format!("T{exptime}"),
        5 | 6 => random.pick(&["MI", "MD", "M+", "M-", "Mi", "Md"]).to_owned(),
        _ => random.pick(&["v", "t", "c", "q", "k", "Oopaque"]).to_owned(),
    }
}
