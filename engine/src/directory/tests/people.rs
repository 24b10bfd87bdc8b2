//! Users and their roles.

use super::script::check;
use expect_test::expect;

#[test]
fn users_are_one_an_address() {
    check(expect![[r#"
        0s enrol ann email=Ann@example.org hash=salt1 key=a => ann
        0s enrol eve email=Ann@example.org hash=salt2 key=a => ann (replayed)
        0s enrol ann email=bob@example.org key=a            => refused: the request id was used before with another body
        0s enrol eve email=ann@EXAMPLE.org                  => refused: it exists already with another content
        0s enrol ann email=bob@example.org                  => refused: it exists already with another content
        0s enrol bob email=nobody                           => refused: email is out of bounds: it is no address
        0s enrol bob hash=x*501                             => refused: passwordHash is out of bounds: 501 bytes are not between 0 and 500
        0s enrol bob name=x*201                             => refused: name is out of bounds: 201 bytes are not between 0 and 200
        0s enrol bob                                        => bob
        0s change ann email=ann@b.example version=1         => v2
        0s change ann email=bob@example.org                 => refused: it exists already with another content
        0s change ann active=no version=1                   => refused: its version is 2, not 1
        0s change ann active=no version=2                   => v3
        0s change ann active=no                             => v3
        0s change ann email=x                               => refused: email is out of bounds: 1 bytes are not between 3 and 254
        0s change ann name=x*201                            => refused: name is out of bounds: 201 bytes are not between 0 and 200
        0s change ann hash=x*501                            => refused: passwordHash is out of bounds: 501 bytes are not between 0 and 500
        0s change eve name=Eve                              => refused: there is no such user
        0s show email ann@example.org                       => none
        0s show email ANN@b.example                         => ann ann@b.example||salt1, shut out v3
        0s show user ann                                    => ann ann@b.example||salt1, shut out v3
        0s show user eve                                    => none
        0s restart                                          => restarted
        0s show email ANN@b.example                         => ann ann@b.example||salt1, shut out v3
        0s repeat 5 enrol u{}                               => refused: users are at their bound
        0s show facts                                       => users.created users.created users.updated users.updated users.created users.created users.created users.created
    "#]]);
}

#[test]
fn a_user_has_one_role_an_organisation() {
    check(expect![[r#"
        0s repeat 3 found {}                  => org3
        0s enrol ann                          => ann
        0s grant ann org1 staff               => v2
        0s grant ann org1 organizer version=2 => v3
        0s grant ann org1 organizer           => v3
        0s grant ann admin                    => v4
        0s grant ann org1 staff version=2     => refused: its version is 4, not 2
        0s grant ann org9 admin               => refused: there is no such organisation
        0s grant eve admin                    => refused: there is no such user
        0s grant ann guest                    => refused: role is out of bounds: staff, organizer or admin
        0s grant ann org1 customer            => refused: role is out of bounds: staff, organizer or admin
        0s grant ann org2 staff               => v5
        0s grant ann org3 staff               => refused: roles of the user are at their bound
        0s grant ann org2 admin               => v6
        0s show user ann                      => ann ann@example.org||, admin everywhere, organizer org1, admin org2 v6
        0s revoke ann version=2               => refused: its version is 6, not 2
        0s revoke ann                         => v7
        0s revoke ann                         => v7
        0s revoke eve                         => refused: there is no such user
        0s revoke ann org2                    => v8
        0s grant ann org3 staff               => v9
        0s show user ann                      => ann ann@example.org||, organizer org1, staff org3 v9
    "#]]);
}
