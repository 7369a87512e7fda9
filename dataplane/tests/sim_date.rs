//! `Date`: every response a client gets has one, and one only (RFC 9110 section 6.6.1).

mod sim_common;

use dataplane::sim::client::{Answer, Exchange, Method, Plan};
use dataplane::sim::{Setup, World};
use sim_common::{AnyWorld, SECOND, assert_settles, assert_whole, mover, plan};

/// The `Date` fields of each response of the first connection.
fn dates(world: &AnyWorld) -> Vec<Vec<String>> {
    world
        .outcomes()
        .next()
        .expect("one connection")
        .dates
        .clone()
}

#[test]
fn a_response_without_date_gets_the_time_it_came() {
    let mut world = World::new(Setup::default(), mover(false));
    let kinds = [
        Exchange::get(100),
        Exchange {
            method: Method::Head,
            ..Exchange::get(100)
        },
        Exchange {
            answer: Answer::Chunked(100),
            ..Exchange::get(0)
        },
    ];
    let now = plan(kinds.to_vec());
    let later = Plan {
        start_us: 3 * SECOND / 2,
        ..plan(vec![Exchange::get(1)])
    };
    let _ = world.add_client(8 * 1024, vec![now, later]);
    let _ = world.run_until(20 * SECOND, World::finished);
    assert_whole(&world, "without Date");
    assert_eq!(dates(&world), [["Sun, 06 Nov 1994 08:49:37 GMT"]; 3]);
    let later = world.outcomes().nth(1).expect("the later one");
    assert_eq!(later.dates, [["Sun, 06 Nov 1994 08:49:38 GMT"]]);
    assert_settles(&mut world, "without Date");
}

#[test]
fn a_response_keeps_the_date_it_has() {
    let mut world = World::new(Setup::default(), mover(false));
    world.hosts[0].origin_mut().expect("the origin").date = Some("Tue, 15 Nov 1994 08:12:31 GMT");
    let _ = world.add_client(8 * 1024, vec![plan(vec![Exchange::get(100); 2])]);
    let _ = world.run_until(20 * SECOND, World::finished);
    assert_whole(&world, "with Date");
    assert_eq!(dates(&world), [["Tue, 15 Nov 1994 08:12:31 GMT"]; 2]);
    assert_settles(&mut world, "with Date");
}

#[test]
fn replies_of_the_proxys_own_have_a_date() {
    let mut world = World::new(Setup::default(), mover(false));
    world.hosts[0].origin_mut().expect("the origin").refuses = true;
    let _ = world.add_client(8 * 1024, vec![plan(vec![Exchange::get(100)])]);
    assert!(world.run_until(20 * SECOND, World::finished));
    let outcome = world.outcomes().next().expect("one connection");
    assert_eq!(outcome.statuses, [502]);
    assert_eq!(dates(&world), [["Sun, 06 Nov 1994 08:49:37 GMT"]]);
    assert_settles(&mut world, "own reply");
}
