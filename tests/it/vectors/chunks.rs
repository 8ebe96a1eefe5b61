//! Vectors of cuts. The lengths of chunks are stated here and are not those that any repository uses.

use holdall::chunk::{ChunkParams, Chunker, Gear};
use serde_json::{Value, json};

use super::{bytes, cases, each, hex};

pub fn files() -> Vec<(&'static str, Value)> {
    vec![("chunk/cuts.json", cuts())]
}

/// Bytes that anybody with BLAKE3 can make again: the extended output for a seed of 8 bytes.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn lengths(secret: [u8; 32], [min, avg, max]: [usize; 3], payload: &[u8]) -> Vec<usize> {
    let gear = Gear::derive(&secret);
    let mut chunker = Chunker::new(&gear, ChunkParams::new(min, avg, max).unwrap());
    let mut lengths = Vec::new();
    let mut take = |chunk: &[u8]| {
        lengths.push(chunk.len());
        Ok::<_, ()>(())
    };
    chunker.push(payload, &mut take).unwrap();
    chunker.end(&mut take).unwrap();
    lengths
}

fn cuts() -> Value {
    let noise_case = |case: &str, secret: u8, params: [usize; 3], seed: u64, len: usize| {
        json!({ "case": case, "secret": hex(&[secret; 32]), "min": params[0], "avg": params[1], "max": params[2],
                "payload": { "seed": hex(&seed.to_le_bytes()), "bytes": len },
                "lengths": lengths([secret; 32], params, &noise(seed, len)) })
    };
    let run_case = |case: &str, params: [usize; 3], byte: u8, len: usize| {
        json!({ "case": case, "secret": hex(&[7; 32]), "min": params[0], "avg": params[1], "max": params[2],
                "payload": { "byte": hex(&[byte]), "bytes": len },
                "lengths": lengths([7; 32], params, &vec![byte; len]) })
    };
    cases(vec![
        noise_case("some chunks", 7, [256, 1024, 4096], 1, 20_000),
        noise_case("another secret", 8, [256, 1024, 4096], 1, 20_000),
        noise_case("an average just below the middle of two powers", 7, [256, 724, 4096], 2, 20_000),
        noise_case("an average just above it", 7, [256, 726, 4096], 2, 20_000),
        noise_case("the smallest lengths", 7, [256, 512, 514], 3, 5000),
        noise_case("long chunks", 7, [16_384, 65_536, 262_144], 4, 2_000_000),
        noise_case("the longest chunks", 7, [1_048_576, 2_097_152, 4_194_304], 5, 10_000_000),
        noise_case("an odd end", 7, [256, 1024, 4096], 6, 2001),
        noise_case("shorter than the shortest", 7, [256, 1024, 4096], 7, 100),
        noise_case("as long as the shortest", 7, [256, 1024, 4096], 7, 256),
        noise_case("nothing", 7, [256, 1024, 4096], 7, 0),
        run_case("one byte again and again", [256, 1024, 4096], 0x61, 10_000),
    ])
}

#[test]
fn cuts_are_as_stated() {
    each("chunk/cuts.json", |case| {
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let (payload, secret) = (&case["payload"], bytes(&case["secret"]).try_into().unwrap());
        let len = number(&payload["bytes"]);
        let payload = match payload.get("byte") {
            Some(byte) => vec![bytes(byte)[0]; len],
            None => noise(u64::from_le_bytes(bytes(&payload["seed"]).try_into().unwrap()), len),
        };
        let params = [number(&case["min"]), number(&case["avg"]), number(&case["max"])];
        let found = lengths(secret, params, &payload);
        assert_eq!(
            found,
            case["lengths"].as_array().unwrap().iter().map(number).collect::<Vec<_>>(),
            "{}",
            case["case"]
        );
    });
}
