//! What stands in the values of the local index.

use holdall::id::RepositoryId;
use holdall::index::rows::{
    PLACE_BYTES, check_head, decode_mark, encode_mark, head_bytes, join, location, place, place_number, places,
    renumber,
};

use super::choice;

/// Marks of segments, heads, and values of chunks with the joining of two.
pub fn index_row(data: &[u8]) {
    let (chosen, data) = choice(data);
    match chosen % 3 {
        0 => {
            if let Ok(named) = decode_mark(data) {
                assert!(encode_mark(&named) == data, "a mark has two forms");
            }
        }
        1 => {
            let own = RepositoryId::from_bytes([chosen; 32]);
            assert!(check_head(data, own).is_err() || data == head_bytes(own), "a head has two forms");
        }
        _ => values(chosen, data),
    }
}

fn values(chosen: u8, data: &[u8]) {
    let (older, newer) = data.split_at(data.len().min(usize::from(chosen / 3) * 4));
    let keep = |number: u32| number & 1 == 0;
    let wanted = |value: &[u8]| places(value).is_some();
    let joined = join([older, newer].into_iter(), keep);
    assert_eq!(joined.is_some(), wanted(older) && wanted(newer), "a join takes what is no value");
    for place_bytes in places(data).unwrap_or_default() {
        let at = location(place_bytes).expect("every place is a location");
        let number = place_number(place_bytes);
        assert!(place(number, &at) == *place_bytes, "a place has two forms");
        let mut other = *place_bytes;
        renumber(&mut other, !number);
        assert!(place_number(&other) == !number && location(&other) == Some(at));
    }
    let Some(joined) = joined else { return };
    let kept: Vec<_> = [older, newer].map(|value| places(value).expect("it was joined")).concat();
    let kept: Vec<_> = kept.into_iter().filter(|place| keep(place_number(place))).collect();
    assert_eq!(joined, kept.concat(), "a join loses or makes places");
    assert_eq!(joined.len() % PLACE_BYTES, 0);
    assert_eq!(join([&joined[..]].into_iter(), keep), Some(joined.clone()), "a join of one changes it");
}
