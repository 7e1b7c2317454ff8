"""The rows for robots, and for issuers of ID tokens."""

from collections.abc import Iterable
from typing import Final

from treescale.console.accounts.robots import (
    IssuerDesk,
    IssuerGone,
    IssuerPage,
    IssuerRow,
    NewIssuer,
    NewRobot,
    NewTrustRule,
    RobotDesk,
    RobotGone,
    RobotMade,
    RobotPage,
    RobotSecret,
    RobotShown,
    Rotation,
    RuleGone,
    TrustRuleMade,
)
from treescale.console.route import DELETE, GET, PAGE, POST, ApiRoute, Who

ROBOTS: Final = "/organisations/{name}/robots"
ROBOT: Final = f"{ROBOTS}/{{robot}}"


def robot_routes(desk: RobotDesk) -> Iterable[ApiRoute]:
    """Yield them: of an organisation, or of a user's namespace."""
    who = Who.USER
    what = "Give a robot another secret; for a day the one before is good, too"
    path = f"{ROBOT}/rotate"
    yield ApiRoute(POST, path, who, what, desk.rotate, RobotSecret, takes=Rotation)
    what = "Have ID tokens be taken as a robot's password"
    yield ApiRoute(POST, f"{ROBOT}/rules", who, what, desk.trust, TrustRuleMade, takes=NewTrustRule)
    what = "Remove a trust rule, and what was given by it"
    yield ApiRoute(DELETE, f"{ROBOT}/rules/{{rule}}", who, what, desk.distrust, RuleGone)
    what = "Robots of a namespace, by name; for maintainers"
    yield ApiRoute(GET, ROBOTS, who, what, desk.list, RobotPage, query=PAGE)
    what = "Make a robot; its secret is shown this once"
    yield ApiRoute(POST, ROBOTS, who, what, desk.add, RobotMade, takes=NewRobot)
    what = "A robot, its trust rules, and how many secrets it has"
    yield ApiRoute(GET, ROBOT, who, what, desk.show, RobotShown)
    what = "Remove a robot: within a minute it is nobody, everywhere"
    yield ApiRoute(DELETE, ROBOT, who, what, desk.remove, RobotGone)


def issuer_routes(desk: IssuerDesk) -> Iterable[ApiRoute]:
    """Yield them."""
    who = Who.ADMINISTRATOR
    what = "Issuers whose ID tokens are believed, by URL"
    yield ApiRoute(GET, "/issuers", who, what, desk.list, IssuerPage, query=PAGE)
    what = "Believe the ID tokens of an issuer, or replace its keys"
    yield ApiRoute(POST, "/issuers", who, what, desk.add, IssuerRow, takes=NewIssuer)
    what = "Believe them no more, and remove the trust rules that name it"
    yield ApiRoute(DELETE, "/issuers/{issuer}", who, what, desk.remove, IssuerGone)
