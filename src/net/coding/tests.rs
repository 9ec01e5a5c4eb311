//! Bodies there and back, cut, changed, squeezed to nearly nothing.

use super::decoder::{Decoder, Malformed};
use super::encoder::{Encoder, encode};
use super::*;
use crate::io::sim::Rng;

const BOTH: [Coding; 2] = [Coding::Gzip, Coding::Zstd];

/// Words in a random order: neither noise nor one byte over and over.
fn text(rng: &mut Rng, len: usize) -> Vec<u8> {
    let words = ["value", "vector", "\"key\":", "0.1234,", "filter ", "\n", "shard", "{}"];
    let mut bytes = Vec::new();
    while bytes.len() < len {
        bytes.extend_from_slice(words[rng.below(words.len() as u64) as usize].as_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Decodes what comes in parts of a random length.
fn decode(coding: Coding, coded: &[u8], rng: &mut Rng) -> Result<Vec<u8>, Malformed> {
    let (mut decoder, mut out) = (Decoder::new(coding), Vec::new());
    let mut left = coded;
    while !left.is_empty() {
        let (mut part, rest) = left.split_at(left.len().min(1 + rng.below(5000) as usize));
        left = rest;
        while !part.is_empty() {
            decoder.step(&mut part, &mut out)?;
        }
    }
    decoder.finish(&mut out)?;
    Ok(out)
}

#[test]
fn what_is_encoded_in_steps_comes_back() {
    let mut rng = Rng::new(1);
    for coding in BOTH {
        for len in [0, 1, 2, 511, 512, 513, 4096, 65_535, 65_536, 65_537, 300_000, 3_000_000] {
            let plain = text(&mut rng, len);
            let (mut encoder, mut coded) = (Encoder::new(coding).unwrap(), Vec::new());
            for step in plain.chunks(1 + rng.below(50_000) as usize) {
                encoder.push(step, &mut coded).unwrap();
            }
            encoder.finish(&mut coded).unwrap();
            assert!(len < 4096 || coded.len() < len / 2, "{coding:?} {len} {}", coded.len());
            assert_eq!(decode(coding, &coded, &mut rng).as_ref(), Ok(&plain), "{coding:?} {len}");
        }
    }
}

/// Both formats say that a sequence of them is what they hold, one behind the other.
#[test]
fn members_one_behind_the_other_are_one_body() {
    let mut rng = Rng::new(2);
    for coding in BOTH {
        let parts: Vec<_> = (0..20).map(|at| text(&mut rng, at * 1000)).collect();
        let coded: Vec<u8> = parts.iter().flat_map(|part| encode(coding, part).unwrap()).collect();
        assert_eq!(decode(coding, &coded, &mut rng), Ok(parts.concat()), "{coding:?}");
    }
}

/// An empty frame that says of itself that it holds 122 bytes: found by fuzzing, and refused only when it came at once.
#[test]
fn a_frame_means_the_same_however_it_is_cut() {
    let frame = b"\x28\xb5\x2f\xfd\x24\x7a\x01\x00\x00\x99\xe9\xd8\x51";
    let in_parts = |part_bytes| {
        let (mut decoder, mut out) = (Decoder::new(Coding::Zstd), Vec::new());
        for mut part in frame.chunks(part_bytes) {
            while !part.is_empty() {
                decoder.step(&mut part, &mut out)?;
            }
        }
        decoder.finish(&mut out).map(|()| out)
    };
    let at_once = in_parts(frame.len());
    assert!((1..frame.len()).all(|part_bytes| in_parts(part_bytes) == at_once));
}

#[test]
fn a_body_that_is_cut_or_changed_is_refused() {
    let mut rng = Rng::new(3);
    for coding in BOTH {
        let plain = text(&mut rng, 20_000);
        let coded = encode(coding, &plain).unwrap();
        for end in (0..coded.len()).step_by(37).chain(coded.len() - 9..coded.len()) {
            assert!(decode(coding, &coded[..end], &mut rng).is_err(), "{coding:?} cut at {end}");
        }
        assert!(decode(coding, b"plain text, not coded", &mut rng).is_err());
        let trailed = [coded.as_slice(), b"something else"].concat();
        assert!(decode(coding, &trailed, &mut rng).is_err(), "{coding:?}");
    }
    // gzip has a checksum; zstd where the sender adds one.
    let plain = text(&mut rng, 20_000);
    let coded = encode(Coding::Gzip, &plain).unwrap();
    for at in (10..coded.len()).step_by(11) {
        let mut changed = coded.clone();
        changed[at] ^= 1 << rng.below(8);
        assert!(decode(Coding::Gzip, &changed, &mut rng).is_err(), "changed at {at}");
    }
}

/// As small as the coding can.
fn squeeze(coding: Coding, plain: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Zstd => encode(coding, plain).unwrap(),
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            std::io::Write::write_all(&mut encoder, plain).unwrap();
            encoder.finish().unwrap()
        }
    }
}

#[test]
fn a_step_gives_a_bounded_piece_of_a_body_that_is_nearly_nothing() {
    let zeros = vec![0; 64 * limits::MIB];
    for coding in BOTH {
        let coded = squeeze(coding, &zeros);
        assert!(coded.len() < zeros.len() / 900, "{coding:?} {}", coded.len());
        let (mut decoder, mut given, mut longest) = (Decoder::new(coding), 0, 0);
        let mut left = coded.as_slice();
        while !left.is_empty() {
            let mut piece = Vec::new();
            decoder.step(&mut left, &mut piece).unwrap();
            (given, longest) = (given + piece.len(), longest.max(piece.len()));
        }
        let mut piece = Vec::new();
        decoder.finish(&mut piece).unwrap();
        assert_eq!(given + piece.len(), zeros.len());
        assert!(longest.max(piece.len()) <= limits::MIB, "{coding:?} {longest} {}", piece.len());
    }
}

#[test]
fn a_window_larger_than_every_server_has_to_take_is_refused() {
    let mut rng = Rng::new(4);
    let plain = text(&mut rng, 100_000);
    let of_window = |bytes: usize| {
        let log = bytes.ilog2();
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(log)).unwrap();
        std::io::Write::write_all(&mut encoder, &plain).unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(decode(Coding::Zstd, &of_window(limits::ZSTD_WINDOW_BYTES_MAX), &mut rng), Ok(plain.clone()));
    assert!(decode(Coding::Zstd, &of_window(2 * limits::ZSTD_WINDOW_BYTES_MAX), &mut rng).is_err());
}

#[test]
fn the_most_wanted_coding_is_used() {
    for (accepted, wanted) in [
        ("", None),
        ("identity", None),
        ("br, deflate", None),
        ("gzip", Some(Coding::Gzip)),
        ("GZip;q=0.5", Some(Coding::Gzip)),
        ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
        ("gzip, zstd;q=0.9", Some(Coding::Gzip)),
        ("gzip;q=0, zstd;q=0.000", None),
        ("*", Some(Coding::Zstd)),
        ("zstd;q=0, *;q=0.1", Some(Coding::Gzip)),
        ("*;q=0, gzip", Some(Coding::Gzip)),
        ("gzip;q=x", Some(Coding::Gzip)),
        (",,;,gzip ; q=1", Some(Coding::Gzip)),
    ] {
        assert_eq!(Coding::wanted(accepted), wanted, "{accepted}");
    }
}

#[test]
fn only_a_body_that_is_read_has_a_coding() {
    let of = |start: &str, coding: &str, length: &str| {
        let bytes = format!("{start} HTTP/1.1\r\nHost: h\r\nContent-Encoding: {coding}\r\n{length}\r\n");
        Coding::of_body(&Head::parse(bytes.as_bytes()).unwrap()).map_err(|problem| problem.status)
    };
    const LENGTH: &str = "Content-Length: 5\r\n";
    assert_eq!(of("PUT /", "gzip", LENGTH), Ok(Some(Coding::Gzip)));
    assert_eq!(of("POST /", "ZSTD", "Transfer-Encoding: chunked\r\n"), Ok(Some(Coding::Zstd)));
    assert_eq!(of("PATCH /", "identity", LENGTH), Ok(None));
    assert_eq!(of("PUT /", "gzip", ""), Ok(None));
    assert_eq!(of("GET /", "gzip", LENGTH), Ok(None));
    for unknown in ["br", "gzip, zstd", "", "x-unknown"] {
        assert_eq!(of("PUT /", unknown, LENGTH), Err(415), "{unknown}");
    }
}
