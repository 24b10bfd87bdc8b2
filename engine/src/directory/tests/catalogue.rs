//! Organisations, venues, events and showtimes.

use super::script::check;
use expect_test::expect;

#[test]
fn organisations_are_founded_and_renamed() {
    check(expect![[r#"
        0s found Opera                      => org1
        0s found x*0                        => refused: name is out of bounds: 0 bytes are not between 1 and 200
        0s found x*201                      => refused: name is out of bounds: 201 bytes are not between 1 and 200
        0s rename org1 name=Opera           => v1
        0s rename org1 name=House version=1 => v2
        0s rename org1 name=Hall version=1  => refused: its version is 2, not 1
        0s rename org1 name=x*201           => refused: name is out of bounds: 201 bytes are not between 1 and 200
        0s rename org9 name=Hall            => refused: there is no such organisation
        0s show organisations               => org1 House v2
        0s show org1                        => org1 House v2
        0s show org9                        => none
        0s repeat 6 found {}                => refused: organisations are at their bound
        0s show facts                       => organisations.created organisations.updated organisations.created organisations.created organisations.created organisations.created organisations.created
    "#]]);
}

#[test]
fn layouts_have_versions_and_showtimes_keep_theirs() {
    check(expect![[r#"
        0s groups 1                                  => done
        0s build org1                                => refused: there is no such organisation
        0s found Opera                               => org1
        0s build org1 name=x*0                       => refused: name is out of bounds: 0 bytes are not between 1 and 200
        0s build org1 city=x*201                     => refused: city is out of bounds: 201 bytes are not between 0 and 200
        0s build org1 country=x*201                  => refused: country is out of bounds: 201 bytes are not between 0 and 200
        0s build org1 map=none                       => refused: plan is out of bounds: there are no seats and no areas
        0s build org1 name=Hall city=Linz country=AT => venue1 map 1
        0s announce org1 title=Aida                  => event1 v1
        0s schedule event1 venue1 price=100          => g1/1 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s rebuild venue1 map=hall                   => v1
        0s rebuild venue1 map=hall5 version=1        => v2
        0s rebuild venue1 name=Old version=1         => refused: its version is 2, not 1
        0s rebuild venue1 name=Great version=2       => v3
        0s rebuild venue1 name=x*0                   => refused: name is out of bounds: 0 bytes are not between 1 and 200
        0s rebuild venue1 map=none                   => refused: plan is out of bounds: there are no seats and no areas
        0s rebuild venue9 name=Old                   => refused: there is no such venue
        0s show venue1                               => venue1 of org1 Great|Linz|AT map 2, 2 areas, v3
        0s show map venue1 version=1                 => 1 areas
        0s show map venue1 version=2                 => 2 areas
        0s show map venue1 version=3                 => none
        0s show g1/1                                 => g1/1 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s schedule event1 venue1 price=100 map=1    => refused: its version is 2, not 1
        0s schedule event1 venue1 price=100 map=2    => g1/2 of event1 in venue1 as of 2, secret 1, provisioning v1
        0s rebuild venue1 map=hall6                  => v4
        0s rebuild venue1 map=hall7                  => v5
        0s rebuild venue1 map=hall8                  => refused: versions of the seat map are at their bound
        0s rebuild venue1 map=hall8 name=Small       => refused: versions of the seat map are at their bound
        0s show venue1                               => venue1 of org1 Great|Linz|AT map 4, 2 areas, v5
        0s restart                                   => restarted
        0s show map venue1 version=3                 => 2 areas
        0s repeat 6 build org1 name={}               => refused: venues are at their bound
        0s show facts                                => groups.changed organisations.created venues.created events.created showtimes.scheduled venues.updated venues.updated showtimes.scheduled venues.updated venues.updated venues.created venues.created venues.created venues.created venues.created
    "#]]);
}

#[test]
fn events_are_found_changed_and_removed() {
    check(expect![[r#"
        0s announce org1 title=Aida                                        => refused: there is no such organisation
        0s found Opera                                                     => org1
        0s found Theatre                                                   => org2
        0s announce org1 title=x*0                                         => refused: title is out of bounds: 0 bytes are not between 1 and 300
        0s announce org1 title=Aida description=x*20001                    => refused: description is out of bounds: 20001 bytes are not between 0 and 20000
        0s announce org1 title=Aida performer=x*201                        => refused: performers is out of bounds: 201 bytes are not between 1 and 200
        0s announce org1 title=Aida city=Linz category=opera               => event1 v1
        0s announce org1 title=Tosca city=Graz performer=Ann performer=Bob => event2 v1
        0s announce org2 title=Norma city=LINZ description=Druids          => event3 v1
        0s show events                                                     => Aida; Tosca; Norma
        0s show events limit=2                                             => Aida; Tosca, more after event2
        0s show events limit=2 after=2                                     => Norma
        0s show events text=OS                                             => Tosca
        0s show events text=druid                                          => Norma
        0s show events text=BOB                                            => Tosca
        0s show events org2                                                => Norma
        0s show events city=linz                                           => Aida; Norma
        0s show events category=Opera                                      => Aida
        0s show events city=linz text=norma                                => Norma
        0s groups 1                                                        => done
        0s build org1                                                      => venue1 map 1
        0s schedule event1 venue1 price=100 starts=5s                      => g1/1 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s show events from=5s                                             => Aida
        0s show events from=6s                                             => none
        0s show events to=5s                                               => none
        0s show events from=1s to=6s                                       => Aida
        0s edit event2 title=Turandot version=1                            => event2 v2
        0s edit event2 title=Aida version=1                                => refused: its version is 2, not 1
        0s edit event2 title=Turandot                                      => event2 v2
        0s edit event2 title=x*301                                         => refused: title is out of bounds: 301 bytes are not between 1 and 300
        0s edit event9 title=Aida                                          => refused: there is no such event
        0s show event2                                                     => event2 Turandot|||Graz|Ann+Bob v2
        0s delete event1                                                   => refused: it is still in use
        0s delete event2 version=1                                         => refused: its version is 2, not 1
        0s delete event2 version=2                                         => done
        0s delete event2                                                   => refused: there is no such event
        0s show event2                                                     => none
        0s repeat 7 announce org1 title={}                                 => refused: events are at their bound
        0s show facts                                                      => organisations.created organisations.created events.created events.created events.created groups.changed venues.created showtimes.scheduled events.updated events.deleted events.created events.created events.created events.created events.created events.created
    "#]]);
}

#[test]
fn showtimes_go_to_the_group_with_the_fewest() {
    check(expect![[r#"
        0s found Opera                                => org1
        0s announce org1 title=Aida                   => event1 v1
        0s schedule event2 venue1 price=100           => refused: there is no such venue
        0s build org1                                 => venue1 map 1
        0s schedule event2 venue1 price=100           => refused: there is no such event
        0s schedule event1 venue1 price=100           => refused: there is no group to take the showtime
        0s groups 2                                   => done
        0s schedule event1 venue1 price=-1            => refused: prices is out of bounds: -1 is not between 0 and 1000000000000
        0s schedule event1 venue1 price=1 price=2     => refused: prices is out of bounds: 2 prices for 1 categories
        0s schedule event1 venue1 price=100 rate=0    => refused: admission.ratePerMinute is out of bounds: 0 is not between 1 and 60000000
        0s found Theatre                              => org2
        0s announce org2 title=Faust                  => event2 v1
        0s schedule event2 venue1 price=100           => refused: there is no such venue
        0s schedule event1 venue1 price=100 starts=9s => g1/1 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s schedule event1 venue1 price=100           => g2/2 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s schedule event1 venue1 price=100           => g1/3 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s schedule event1 venue1 price=100           => g2/4 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s schedule event1 venue1 price=100           => g1/5 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s groups 3                                   => done
        0s schedule event1 venue1 price=100           => g3/6 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s show groups                                => g1 has 3; g2 has 2; g3 has 1
        0s archive g1/1                               => refused: it is still in use
        0s archive g9/1                               => refused: there is no such showtime
        0s activate g9/1                              => refused: there is no such showtime
        0s activate g1/1 version=2                    => refused: its version is 1, not 2
        0s activate g1/1 version=1                    => g1/1 of event1 in venue1 as of 1, secret 1, active v2
        0s activate g1/1                              => g1/1 of event1 in venue1 as of 1, secret 1, active v2
        0s archive g1/1 version=1                     => refused: its version is 2, not 1
        0s archive g1/1 version=2                     => g1/1 of event1 in venue1 as of 1, secret 1, archived v3
        0s archive g1/1                               => g1/1 of event1 in venue1 as of 1, secret 1, archived v3
        0s show groups                                => g1 has 2; g2 has 2; g3 has 1
        0s show provisioning                          => g1/3 of event1 in venue1 as of 1, secret 1, provisioning v1; g1/5 of event1 in venue1 as of 1, secret 1, provisioning v1; g2/2 of event1 in venue1 as of 1, secret 1, provisioning v1; g2/4 of event1 in venue1 as of 1, secret 1, provisioning v1; g3/6 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s show showtimes event1                      => g1/3 of event1 in venue1 as of 1, secret 1, provisioning v1; g1/5 of event1 in venue1 as of 1, secret 1, provisioning v1; g2/2 of event1 in venue1 as of 1, secret 1, provisioning v1; g2/4 of event1 in venue1 as of 1, secret 1, provisioning v1; g3/6 of event1 in venue1 as of 1, secret 1, provisioning v1; g1/1 of event1 in venue1 as of 1, secret 1, archived v3
        0s schedule event1 venue1 price=100           => g3/7 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s repeat 5 schedule event1 venue1 price=100  => g2/12 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s schedule event1 venue1 price=100           => refused: showtimes are at their bound
        0s show facts                                 => organisations.created events.created venues.created groups.changed organisations.created events.created showtimes.scheduled showtimes.scheduled showtimes.scheduled showtimes.scheduled showtimes.scheduled groups.changed showtimes.scheduled showtimes.activated showtimes.archived showtimes.scheduled showtimes.scheduled showtimes.scheduled showtimes.scheduled showtimes.scheduled showtimes.scheduled
    "#]]);
}

#[test]
fn the_first_secret_stays() {
    check(expect![[r#"
        0s groups 2                                              => done
        0s found Opera                                           => org1
        0s build org1                                            => venue1 map 1
        0s announce org1 title=Aida                              => event1 v1
        0s schedule event1 venue1 price=100 secret=7 key=a       => g1/1 of event1 in venue1 as of 1, secret 7, provisioning v1
        0s schedule event1 venue1 price=100 secret=8 map=1 key=a => g1/1 of event1 in venue1 as of 1, secret 7, provisioning v1 (replayed)
        0s schedule event1 venue1 price=101 secret=7 key=a       => refused: the request id was used before with another body
        0s show provisioning                                     => g1/1 of event1 in venue1 as of 1, secret 7, provisioning v1
    "#]]);
}

#[test]
fn a_group_that_has_had_its_showtimes_gets_no_more() {
    check(expect![[r#"
        0s found Theatre                             => org1
        0s build org1 seats=2                        => venue1 map 1
        0s announce org1 title=Faust                 => event1 v1
        0s groups 1                                  => done
        0s repeat 7 schedule event1 venue1 price=100 => g1/7 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s activate g1/1                             => g1/1 of event1 in venue1 as of 1, secret 1, active v2
        0s archive g1/1                              => g1/1 of event1 in venue1 as of 1, secret 1, archived v3
        0s schedule event1 venue1 price=100          => refused: showtimes of all groups are at their bound
        0s groups 2                                  => done
        0s schedule event1 venue1 price=100          => g2/8 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s repeat 4 schedule event1 venue1 price=100 => g2/12 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s schedule event1 venue1 price=100          => refused: showtimes are at their bound
        0s show groups                               => g1 has 6; g2 has 5
    "#]]);
}
