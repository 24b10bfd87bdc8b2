//! Groups, nodes, placements and token keys.

use super::script::check;
use expect_test::expect;

#[test]
fn groups_only_grow() {
    check(expect![[r#"
        0s tick               => done
        0s groups 0           => refused: count is out of bounds: 0 is not between 1 and 1024
        0s groups 1025        => refused: count is out of bounds: 1025 is not between 1 and 1024
        0s groups 2 version=1 => refused: its version is 0, not 1
        0s groups 2 version=0 => done
        0s groups 2           => done
        0s groups 1           => refused: count is out of bounds: there are 2 groups already
        0s groups 3 version=1 => refused: its version is 2, not 1
        0s groups 3 version=2 => done
        0s show groups        => g1 has 0; g2 has 0; g3 has 0
        0s show facts         => groups.changed groups.changed
    "#]]);
}

#[test]
fn nodes_come_drain_and_never_come_back() {
    check(expect![[r#"
        0s groups 2                     => done
        0s register n1                  => v1
        0s register n2                  => v1
        0s register n3 version=1        => refused: its version is 0, not 1
        0s register n3 version=0        => v1
        0s register n4                  => v1
        0s register n4 at=b:1 version=0 => refused: its version is 1, not 0
        0s register n4 at=b:1 version=1 => v2
        0s register n4 at=b:1 data=2    => refused: it exists already with another content
        0s register n0                  => refused: nodeId is out of bounds: nodes are numbered from 1
        0s register n5 at=x*0           => refused: address is out of bounds: 0 bytes are not between 1 and 300
        0s register n5 at=x*301         => refused: address is out of bounds: 301 bytes are not between 1 and 300
        0s place g1 n3 n1 n2 version=0  => v1
        0s place g1 n1 version=0        => refused: its version is 1, not 0
        0s place g1 n1 n2 n3            => v1
        0s place g1 n9                  => refused: there is no such node
        0s place g1 n1 n1               => refused: voters is out of bounds: 1 to 9 nodes, each once
        0s place g1                     => refused: voters is out of bounds: 1 to 9 nodes, each once
        0s place g3 n1                  => refused: there is no such group
        0s place g0 n1                  => v1
        0s turn n3 removed              => refused: it is still in use
        0s turn n9 draining             => refused: there is no such node
        0s turn n3 draining version=2   => refused: its version is 1, not 2
        0s turn n3 draining version=1   => v2
        0s place g1 n1 n2 n3            => refused: voters is out of bounds: every one must be active
        0s place g2 n1 n2 n3            => refused: voters is out of bounds: every one must be active
        0s place g1 n1 n2 n4 version=1  => v2
        0s turn n3 leaving              => v3
        0s place g2 n3                  => refused: voters is out of bounds: every one must be active
        0s turn n3 removed              => v4
        0s turn n3 removed              => v4
        0s turn n3 active               => refused: it exists already with another content
        0s register n3                  => refused: it exists already with another content
        0s place g2 n3                  => refused: voters is out of bounds: every one must be active
        0s show nodes                   => n1 at a:1 active v1; n2 at a:1 active v1; n3 at a:1 removed v4; n4 at b:1 active v2
        0s show placements              => g0 on n1 v1; g1 on n1 n2 n4 v2
        0s repeat 5 register n1{}       => refused: nodes are at their bound
        0s show facts                   => groups.changed nodes.changed nodes.changed nodes.changed nodes.changed nodes.changed groups.placed groups.placed nodes.changed groups.placed nodes.changed nodes.changed nodes.changed nodes.changed nodes.changed nodes.changed
    "#]]);
}

#[test]
fn of_two_nodes_that_are_taken_out_at_once_the_second_stays_when_it_is_needed() {
    check(expect![[r#"
        0s register n1                        => v1
        0s register n2                        => v1
        0s register n3                        => v1
        0s register n4                        => v1
        0s retire n1 draining min=4           => refused: 3 nodes would be left active, too few
        0s retire n1 draining version=1 min=3 => v2
        0s retire n2 leaving version=1 min=3  => refused: 2 nodes would be left active, too few
        0s retire n1 leaving min=3            => v3
        0s retire n2 leaving version=9 min=3  => refused: its version is 1, not 9
        0s retire n9 leaving min=3            => refused: there is no such node
        0s retire n2 active                   => refused: state is out of bounds: draining or leaving
        0s retire n2 leaving                  => v2
        0s turn n2 removed                    => v3
        0s retire n2 draining                 => refused: it exists already with another content
        0s turn n1 active                     => v4
        0s show nodes                         => n1 at a:1 active v4; n2 at a:1 removed v3; n3 at a:1 active v1; n4 at a:1 active v1
    "#]]);
}

#[test]
fn a_directory_that_is_restored_knows_no_nodes_and_makes_no_id_twice() {
    check(expect![[r#"
        0s groups 1                         => done
        0s found Opera                      => org1
        0s build org1                       => venue1 map 1
        0s announce org1 title=Aida         => event1 v1
        0s register n1                      => v1
        0s place g1 n1                      => v1
        0s schedule event1 venue1 price=100 => g1/1 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s refound 7                        => another cluster
        0s show nodes                       => none
        0s show placements                  => none
        0s show g1/1                        => g1/1 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s schedule event1 venue1 price=100 => g1/8 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s refound 3                        => another cluster
        0s schedule event1 venue1 price=100 => g1/9 of event1 in venue1 as of 1, secret 1, provisioning v1
        0s register n1 data=2               => v1
        0s show nodes                       => n1 at a:1 active v1
    "#]]);
}

#[test]
fn the_first_keys_stay_and_keys_turn_over() {
    check(expect![[r#"
        0s install                                   => refused: keys is out of bounds: 0 is not between 1 and 16
        0s install r1/rs256 r1/ed25519               => refused: kid is out of bounds: two keys of one name
        0s install x*65/rs256                        => refused: kid is out of bounds: 65 bytes are not between 1 and 64
        0s install r1/rs256/                         => refused: der is out of bounds: not between 1 and 8192 bytes
        0s install r1/rs256 e1/ed25519 key=a         => keys v1: r1 e1
        0s install r2/rs256 e2/ed25519 key=a         => keys v1: r1 e1 (replayed)
        0s install r2/rs256 e2/ed25519               => keys v1: r1 e1
        0s rotate retire=e1                          => refused: it is still in use
        0s rotate add=e1/rs256                       => refused: it exists already with another content
        0s rotate add=e2/ed25519/                    => refused: der is out of bounds: not between 1 and 8192 bytes
        0s rotate add=e2/ed25519 retire=e1 version=2 => refused: its version is 1, not 2
        0s rotate add=e2/ed25519 retire=e1 version=1 => keys v2: r1 e2
        0s rotate add=e2/ed25519 retire=e1           => keys v2: r1 e2
        0s rotate add=r1/rs256                       => keys v2: r1 e2
        0s rotate retire=nothing                     => keys v2: r1 e2
        0s show keys                                 => keys v2: r1 e2
        0s repeat 14 rotate add=k{}/rs256            => keys v16: r1 e2 k1 k2 k3 k4 k5 k6 k7 k8 k9 k10 k11 k12 k13 k14
        0s rotate add=r2/rs256                       => refused: token keys are at their bound
        0s rotate add=r2/rs256 retire=r1             => keys v17: e2 k1 k2 k3 k4 k5 k6 k7 k8 k9 k10 k11 k12 k13 k14 r2
        0s restart                                   => restarted
        0s show keys                                 => keys v17: e2 k1 k2 k3 k4 k5 k6 k7 k8 k9 k10 k11 k12 k13 k14 r2
        0s show facts                                => keys.installed keys.installed keys.installed keys.installed keys.installed keys.installed keys.installed keys.installed keys.installed keys.installed keys.installed keys.installed keys.installed keys.installed keys.installed keys.installed keys.installed
    "#]]);
}
