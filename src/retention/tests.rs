//! Retention against a model that is written another way, and against the calendar.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3_600_000_000;

/// Central European Time with its summer time.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

/// A local moment.
fn local(text: &str) -> Timestamp {
    let moment = text.parse::<DateTime>().unwrap().to_zoned(berlin()).unwrap().timestamp();
    at(moment.as_microsecond().try_into().unwrap())
}

fn plain(time: Timestamp) -> Subject<'static> {
    Subject { time, tags: Vec::new(), pinned: false, incomplete: false }
}

fn plains(times: &[Timestamp]) -> Vec<Subject<'static>> {
    times.iter().copied().map(plain).collect()
}

fn each(rules: &[(Calendar, u32)]) -> Policy {
    let keep = |count: u32| Keep::Count(count.try_into().unwrap());
    Policy { each: rules.iter().map(|(calendar, count)| (*calendar, keep(*count))).collect(), ..Policy::default() }
}

/// Which of these times are kept, in order.
fn kept(policy: &Policy, times: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
    let decisions = decide(policy, &plains(times), now, &berlin());
    let kept = times.iter().zip(decisions).filter(|(_, decision)| *decision != Decision::Drop);
    kept.map(|(time, _)| *time).collect()
}

fn texts(times: &[Timestamp], format: &str) -> Vec<String> {
    times.iter().map(|time| time.to_jiff().to_zoned(berlin()).strftime(format).to_string()).collect()
}

/// The name of the piece of the calendar that a moment lies in.
fn piece(calendar: Calendar, moment: &Zoned) -> String {
    let format = match calendar {
        Calendar::Hourly => "%F %H %:z",
        Calendar::Daily => "%F",
        Calendar::Weekly => "%G-%V",
        Calendar::Monthly => "%Y-%m",
        Calendar::Quarterly => return format!("{}-{}", moment.year(), 1 + (moment.month() - 1) / 3),
        Calendar::Yearly => "%Y",
    };
    moment.strftime(format).to_string()
}

/// The newest point of each piece, newest first.
fn newest_of_each(calendar: Calendar, times: &[Timestamp]) -> Vec<Timestamp> {
    let mut pieces: BTreeMap<String, Timestamp> = BTreeMap::new();
    for time in times {
        let newest = pieces.entry(piece(calendar, &time.to_jiff().to_zoned(berlin()))).or_insert(*time);
        *newest = (*newest).max(*time);
    }
    let mut newest: Vec<Timestamp> = pieces.into_values().collect();
    newest.sort_unstable();
    newest.reverse();
    newest
}

/// What the policy keeps of these different times, none of which is in the future: rule by rule from the whole.
fn model(policy: &Policy, times: &[Timestamp]) -> BTreeSet<Timestamp> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let (Some(oldest), Some(newest)) = (sorted.first(), sorted.last()) else { return BTreeSet::new() };
    let mut kept = BTreeSet::from([*newest]);
    kept.extend(sorted.iter().rev().take(policy.last.map_or(0, Keep::most)));
    for (calendar, keep) in &policy.each {
        let all = newest_of_each(*calendar, &sorted);
        kept.extend(all.iter().take(keep.most()));
        kept.extend((all.len() < keep.most()).then_some(oldest));
    }
    let young = |period: Period| -> Vec<Timestamp> {
        let bound = period.before(newest.to_jiff());
        sorted.iter().copied().filter(|time| time.to_jiff() > bound).collect()
    };
    kept.extend(policy.within.into_iter().flat_map(young));
    for (calendar, period) in &policy.each_within {
        kept.extend(newest_of_each(*calendar, &young(*period)));
    }
    kept
}

fn any_keep() -> impl Strategy<Value = Keep> {
    prop_oneof![9 => (1_u32..9).prop_map(|count| Keep::Count(count.try_into().unwrap())), 1 => Just(Keep::All)]
}

fn any_period() -> impl Strategy<Value = Period> {
    (0_u32..4, 0_u32..2000).prop_map(|(months, hours)| Period { months, hours: hours + 1 })
}

fn any_calendar() -> impl Strategy<Value = Calendar> {
    (0..Calendar::ALL.len()).prop_map(|at| Calendar::ALL[at])
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let each = prop::collection::btree_map(any_calendar(), any_keep(), 0..4);
    let each_within = prop::collection::btree_map(any_calendar(), any_period(), 0..3);
    (prop::option::of(any_keep()), each, prop::option::of(any_period()), each_within)
        .prop_map(|(last, each, within, each_within)| Policy { last, each, within, each_within, tags: BTreeSet::new() })
}

/// Different times, in order, some close together and some months apart.
fn any_times() -> impl Strategy<Value = Vec<Timestamp>> {
    let step = prop_oneof![4 => 1..30_u64, 8 => 20..28_u64, 2 => 100..2000_u64];
    (400_000_u64..420_000, prop::collection::vec(step, 0..80)).prop_map(|(start, steps)| {
        let hours = steps.into_iter().scan(start, |hour, step| {
            *hour += step;
            Some(*hour)
        });
        hours.map(|hour| at(hour * HOUR + hour % 7 * HOUR / 11)).collect()
    })
}

const END: u64 = 800_000 * HOUR;

/// Four weeks of February are long before the end of April, whatever the hour.
#[test]
fn a_later_moment_never_has_an_earlier_one_some_months_before_it() {
    let before = |text: &str| Period { months: 2, hours: 0 }.before(text.parse().unwrap()).to_string();
    assert_eq!(before("2026-04-28T12:00:00Z"), "2026-02-28T12:00:00Z");
    assert_eq!(before("2026-04-29T01:00:00Z"), "2026-03-01T00:00:00Z");
    assert_eq!(before("2026-04-30T23:00:00Z"), "2026-03-01T00:00:00Z");
    assert_eq!(before("2026-05-01T02:00:00Z"), "2026-03-01T02:00:00Z");
}

proptest! {
    #[test]
    fn a_policy_keeps_what_its_rules_keep_one_by_one(policy in any_policy(), times in any_times()) {
        let expected: Vec<Timestamp> = model(&policy, &times).into_iter().collect();
        prop_assert_eq!(kept(&policy, &times, at(END)), expected);
    }

    #[test]
    fn every_night_keeps_what_the_policy_would_keep_of_all(policy in any_policy(), times in any_times()) {
        let mut left = Vec::new();
        for (nights, time) in times.iter().enumerate() {
            left.push(*time);
            left = kept(&policy, &left, *time);
            prop_assert_eq!(&left, &kept(&policy, &times[..=nights], *time));
            // Once more, and later, drops nothing more.
            prop_assert_eq!(&left, &kept(&policy, &left, at(END)));
        }
    }

    #[test]
    fn nights_without_retention_change_nothing(policy in any_policy(), times in any_times(), nights: u64) {
        let mut left = Vec::new();
        for (night, time) in times.iter().enumerate() {
            left.push(*time);
            if nights >> (night % 64) & 1 == 1 {
                left = kept(&policy, &left, *time);
            }
        }
        prop_assert_eq!(kept(&policy, &left, at(END)), kept(&policy, &times, at(END)));
    }

    #[test]
    fn wrong_clocks_cost_no_other_point_its_place(
        policy in any_policy(), times in any_times(), wrong in prop::collection::vec(1..END, 0..5)
    ) {
        let now = times.last().copied().unwrap_or(at(0));
        let mut all = times.clone();
        all.extend(wrong.iter().map(|ahead| at(now.as_micros() + ahead)));
        let mut expected = kept(&policy, &times, now);
        expected.extend_from_slice(&all[times.len()..]);
        prop_assert_eq!(kept(&policy, &all, now), expected);
    }

    #[test]
    fn the_order_of_points_means_nothing(policy in any_policy(), mut times in any_times()) {
        let mut expected = kept(&policy, &times, at(END));
        times.reverse();
        expected.reverse();
        prop_assert_eq!(kept(&policy, &times, at(END)), expected);
    }

    #[test]
    fn periods_are_read_as_they_are_written(period in any_period()) {
        prop_assert_eq!(period.to_string().parse(), Ok(period));
    }
}

/// Two years of nights at three o'clock, with the retention of most people.
#[test]
fn four_hundred_nights_leave_what_was_promised() {
    let policy = each(&[(Calendar::Daily, 7), (Calendar::Weekly, 4), (Calendar::Monthly, 6), (Calendar::Yearly, 3)]);
    let now = local("2026-11-21T03:00");
    let nights = simulated(Period::days(400), Period::days(1), now, &berlin()).unwrap();
    assert_eq!((nights.len(), texts(&nights[..1], "%F %T")), (400, vec!["2025-10-18 03:00:00".to_owned()]));
    let mut left = Vec::new();
    for night in nights {
        left.push(night);
        left = kept(&policy, &left, night);
    }
    let expected = [
        // The oldest of all, for there are not yet three years.
        "2025-10-18",
        "2025-12-31",
        "2026-06-30",
        "2026-07-31",
        "2026-08-31",
        "2026-09-30",
        "2026-10-31",
        // Sundays, and the week that is not over.
        "2026-11-01",
        "2026-11-08",
        "2026-11-15",
        "2026-11-16",
        "2026-11-17",
        "2026-11-18",
        "2026-11-19",
        "2026-11-20",
        "2026-11-21",
    ];
    assert_eq!(texts(&left, "%F"), expected);
}

#[test]
fn an_incomplete_point_takes_no_whole_ones_place() {
    let times: Vec<Timestamp> =
        ["2026-11-17T03:00", "2026-11-18T03:00", "2026-11-19T03:00", "2026-11-20T03:00"].map(local).to_vec();
    let kept = |policy: &Policy, incomplete: &[usize]| {
        let subjects: Vec<Subject<'_>> = times
            .iter()
            .enumerate()
            .map(|(at, time)| Subject { incomplete: incomplete.contains(&at), ..plain(*time) })
            .collect();
        let decisions = decide(policy, &subjects, *times.last().unwrap(), &berlin());
        (0..times.len()).filter(|at| decisions[*at] != Decision::Drop).collect::<Vec<_>>()
    };
    let last = |most: u32| Policy { last: Some(Keep::Count(most.try_into().unwrap())), ..Policy::default() };
    assert_eq!(kept(&last(1), &[]), [3]);
    assert_eq!(kept(&last(1), &[3]), [2, 3]);
    assert_eq!(kept(&last(1), &[2, 3]), [1, 3]);
    assert_eq!(kept(&last(2), &[0, 3]), [1, 2, 3]);
    assert_eq!(kept(&last(1), &[0, 1, 2, 3]), [3]);
    assert_eq!(kept(&Policy::default(), &[3]), [2, 3], "the newest good one stays whatever the policy");
}

#[test]
fn reasons_are_told() {
    let policy = Policy {
        last: Some(Keep::Count(2.try_into().unwrap())),
        within: Some(Period::days(2)),
        each_within: [(Calendar::Weekly, Period { months: 1, hours: 0 })].into(),
        tags: ["release".to_owned()].into(),
        ..each(&[(Calendar::Monthly, 9)])
    };
    let times = ["2026-08-03T01:00", "2026-08-04T01:00", "2026-11-18T01:00", "2026-11-20T00:30", "2026-11-20T01:00"];
    let mut points = plains(&times.map(local));
    points[1].tags = vec!["release", "other"];
    points[2].pinned = true;
    points.push(plain(local("2099-01-01T00:00")));
    let told: Vec<String> = decide(&policy, &points, local("2026-11-20T01:00"), &berlin())
        .into_iter()
        .map(|decision| match decision {
            Decision::Keep(reasons) => reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            Decision::Drop => "-".to_owned(),
        })
        .collect();
    let expected = [
        "oldest monthly",
        "monthly, tag release",
        "pinned",
        "last, within 2d",
        "newest, last, monthly, within 2d, weekly within 1mo",
        "dated in the future",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_source_that_is_no_longer_backed_up_keeps_its_history() {
    let policy = Policy { within: Some(Period::days(3)), ..Policy::default() };
    let times = ["2020-01-01T00:00", "2020-01-02T12:00", "2020-01-04T00:00"].map(local);
    assert_eq!(kept(&policy, &times, local("2026-11-20T00:00")), times[1..]);
}

#[test]
fn an_hour_that_comes_twice_is_two_and_a_day_that_is_longer_is_one() {
    // From 3:00 back to 2:00 on this morning; the next line is half past two for the first and for the second time.
    let first = local("2026-10-25T02:30");
    let times = [first, at(first.as_micros() + HOUR), local("2026-10-25T23:59"), local("2026-10-26T00:00")];
    assert_eq!(texts(&times[..2], "%H:%M"), ["02:30", "02:30"]);
    let now = at(END);
    assert_eq!(kept(&each(&[(Calendar::Hourly, 4)]), &times, now), times);
    assert_eq!(kept(&each(&[(Calendar::Daily, 2)]), &times, now), times[2..]);
    // And the day that is shorter.
    let times = ["2026-03-29T00:00", "2026-03-29T23:59", "2026-03-30T00:00"].map(local);
    assert_eq!(kept(&each(&[(Calendar::Daily, 2)]), &times, now), times[1..]);
}

#[test]
fn weeks_begin_on_monday_and_belong_to_the_year_of_their_thursday() {
    // Sunday, Monday; and a week that has days of two years.
    let times = ["2026-11-15T23:00", "2026-11-16T00:00", "2026-12-31T00:00", "2027-01-03T00:00"].map(local);
    assert_eq!(kept(&each(&[(Calendar::Weekly, 3)]), &times, at(END)), [times[0], times[1], times[3]]);
    assert_eq!(kept(&each(&[(Calendar::Quarterly, 2)]), &times, at(END)), times[2..]);
}

/// Some countries have put clocks back over midnight, so that the day before came back.
#[test]
fn a_day_that_comes_twice_counts_once() {
    let zone = TimeZone::posix("AAA3BBB,M10.3.0/0,M11.1.0/0:01").unwrap();
    let midnight = "2026-11-01T00:00".parse::<DateTime>().unwrap().to_zoned(zone.clone()).unwrap();
    let start: u64 = midnight.timestamp().as_microsecond().try_into().unwrap();
    // The old day, half a minute of the new one, the old one again, the new one.
    let minute = HOUR / 60;
    let times = [start - minute, start + minute / 2, start + 2 * minute, start + 2 * HOUR].map(at);
    let days: Vec<String> =
        times.iter().map(|time| time.to_jiff().to_zoned(zone.clone()).strftime("%d").to_string()).collect();
    assert_eq!(days, ["31", "01", "31", "01"]);
    let decisions = decide(&each(&[(Calendar::Daily, 2)]), &plains(&times), at(END), &zone);
    let kept: Vec<bool> = decisions.iter().map(|decision| *decision != Decision::Drop).collect();
    assert_eq!(kept, [false, false, true, true]);
}

#[test]
fn what_is_no_number_and_no_period_is_refused() {
    assert_eq!("all".parse(), Ok(Keep::All));
    for wrong in ["0", "-1", "", "1.5", "unlimited", "99999999999"] {
        assert!(wrong.parse::<Keep>().is_err(), "{wrong}");
    }
    for (text, read) in [("36h", "1d12h"), ("2w", "14d"), ("1y 6mo", "1y6mo"), ("14mo", "1y2mo"), ("P1M", "1mo")] {
        assert_eq!(text.parse::<Period>().unwrap().to_string(), read);
    }
    for wrong in ["", "1", "6m", "1y5m7d2h", "90s", "0d", "-3d", "3d ago", "1h30m", "PT5M"] {
        assert!(wrong.parse::<Period>().is_err(), "{wrong}");
    }
}

#[test]
fn a_simulation_has_its_bounds() {
    let now = local("2026-11-20T03:00");
    let made = |length: &str, every: &str| simulated(length.parse().unwrap(), every.parse().unwrap(), now, &berlin());
    assert_eq!(made("2d", "6h").unwrap().len(), 8);
    assert!(texts(&made("1y", "1d").unwrap(), "%T").iter().all(|text| text == "03:00:00"));
    assert_eq!(made("5000y", "1mo").unwrap().len(), 683, "no point was made before 1970");
    assert_eq!(made("5000y", "1h"), None);
}
