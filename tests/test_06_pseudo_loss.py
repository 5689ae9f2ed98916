"""Chapter 6: one loss, one loop, one policy in torch and NumPy; training, files, command line."""

from __future__ import annotations

import copy
import io
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pgcourse import cli, experiments
from pgcourse.environments import make_vector, two_state
from pgcourse.policies import aliased_return, sample_action, softmax
from pgcourse.pseudo_loss import (
    ROWS,
    Descent,
    SoftmaxPolicy,
    forward,
    full_return,
    log_probs_of,
    network,
    reinforce_loss,
    runner,
    select_log_probs,
    step_log_probs,
    train,
)
from pgcourse.trajectories import (
    Lanes,
    Trajectories,
    mc_gradient,
    returns,
    rollout_episodes,
    rollout_mdp,
)

ROOT = Path(__file__).parents[1]


def some_policy(sizes: tuple[int, ...] = (4, 8, 2), seed: int = 0, sharp: float = 50) -> Any:
    """A policy that has an opinion: the last layer of a new one is near zero."""
    net = network(sizes, np.random.default_rng(seed))
    net[-1].weight.data *= sharp
    return SoftmaxPolicy(net)


def some_run(N: int = 6, seed: int = 0, T: int = 500) -> Any:
    lanes = Lanes(make_vector("CartPole-v1", N), seed)
    return runner(rollout_episodes, lanes, T, np.random.default_rng(seed))


# --- the loss ----------------------------------------------------------------------------------


def test_the_worked_number_of_the_page() -> None:
    logits = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    log_probs = select_log_probs(logits, torch.tensor([1, 0]))[None]
    loss = reinforce_loss(log_probs, np.array([[2.0, 1.0]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(1.5 * np.log(2), rel=1e-12)
    assert logits.grad is not None
    assert logits.grad.sum(dim=0)[1].item() == pytest.approx(-0.25, rel=1e-12)


def test_minus_the_gradient_of_the_loss_is_the_estimate_of_chapter_5() -> None:
    world, theta = two_state(), np.array([[0.3, -0.2], [0.5, 0.1]])
    played = rollout_mdp(world, softmax(theta), np.random.default_rng(0).random((50, 7)))
    table = torch.tensor(theta, requires_grad=True)
    log_probs = select_log_probs(table[torch.tensor(played.states)], torch.tensor(played.actions))
    (g,) = torch.autograd.grad(reinforce_loss(log_probs, full_return(played)), table)
    np.testing.assert_allclose(-g.numpy(), mc_gradient(played, theta, 1.0), rtol=1e-10)


def test_log_probabilities_agree_with_torchs_distribution_in_both_worlds() -> None:
    rng = np.random.default_rng(0)
    for A in (1, 2, 3, 7):
        logits, actions = 30 * rng.normal(size=(50, A)), rng.integers(A, size=50)
        law = torch.distributions.Categorical(logits=torch.tensor(logits))
        want = law.log_prob(torch.tensor(actions)).numpy()
        tensors = torch.tensor(logits), torch.tensor(actions)
        np.testing.assert_allclose(select_log_probs(*tensors).numpy(), want, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(log_probs_of(logits, actions), want, rtol=1e-10, atol=1e-12)


def test_large_logits_stay_finite() -> None:
    logits, actions = np.array([[1e5, -1e5], [-1e5, 1e5]]), np.array([1, 1])
    np.testing.assert_array_equal(log_probs_of(logits, actions), [-2e5, 0])
    both = select_log_probs(torch.tensor(logits), torch.tensor(actions))
    np.testing.assert_array_equal(both.numpy(), [-2e5, 0])


def test_padding_has_log_probability_and_weight_zero() -> None:
    policy = some_policy()
    played = some_run()(policy)
    log_probs = step_log_probs(policy, played)
    assert not played.valid.all()
    assert not log_probs.detach().numpy()[~played.valid].any()
    assert not full_return(played)[~played.valid].any()
    one_by_one = [
        torch.distributions.Categorical(logits=policy.net(torch.tensor(s))).log_prob(
            torch.tensor(a)
        )
        for s, a in zip(played.states[:, 2], played.actions[:, 2], strict=True)
    ]
    want = torch.stack(one_by_one).detach().numpy() * played.valid[:, 2]
    np.testing.assert_allclose(log_probs[:, 2].detach().numpy(), want, atol=1e-6)  # float32


def test_each_step_weighs_what_its_whole_episode_returned() -> None:
    played = some_run()(some_policy())
    lengths = played.valid.sum(axis=0)
    np.testing.assert_array_equal(full_return(played), lengths * played.valid)
    np.testing.assert_array_equal(returns(played, 1.0), lengths)


# --- the policy --------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(4, 2), (4, 64, 64, 2), (6, 32, 3)])
def test_the_network_says_the_same_in_numpy_and_in_torch(sizes: tuple[int, ...]) -> None:
    policy, rng = some_policy(sizes), np.random.default_rng(1)
    for M in (1, 5, ROWS, ROWS + 1, 3 * ROWS):
        x = rng.normal(size=(M, sizes[0])).astype(np.float32)
        want = policy.net(torch.tensor(x)).detach().numpy()
        np.testing.assert_allclose(forward(policy.net)(x), want, atol=2e-6)  # float32
    other = some_policy(sizes, seed=1)
    assert np.abs(forward(other.net)(x) - want).max() > 0.1


def test_the_forward_pass_follows_the_weights_and_leaves_its_input_alone() -> None:
    policy = some_policy()
    x = np.ones((3, 4), np.float32)
    said = forward(policy.net)
    before = said(x)
    with torch.no_grad():
        policy.net[0].weight += 1
    assert np.abs(said(x) - before).max() > 0.01
    np.testing.assert_array_equal(x, 1)


def test_a_copied_policy_acts_by_its_own_weights() -> None:
    policy = some_policy()
    twin, x, u = copy.deepcopy(policy), np.ones((1, 4), np.float32), np.full(1, 0.5)
    policy.net[-1].bias.data[:] = torch.tensor([100.0, -100.0])
    twin.net[-1].bias.data[:] = torch.tensor([-100.0, 100.0])
    assert (policy.actor()(x, u)[0], twin.actor()(x, u)[0]) == (0, 1)


def test_a_network_that_numpy_cannot_follow_is_refused() -> None:
    with pytest.raises(ValueError, match="net must be linear layers with tanh between them"):
        forward(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)))


@pytest.mark.parametrize("A", [2, 3])
def test_actions_follow_the_rule_of_chapter_2(A: int) -> None:
    policy, rng = some_policy((4, 8, A)), np.random.default_rng(3)
    x, u = rng.normal(size=(300, 4)).astype(np.float32), rng.random(300)
    said: list[np.ndarray] = []
    actions = policy.actor(said)(x, u)
    pi = softmax(said[0])
    assert actions.tolist() == [sample_action(p, v) for p, v in zip(pi, u, strict=True)]
    assert actions.dtype == np.int64
    assert len(set(actions.tolist())) == A
    assert actions.tolist() != pi.argmax(axis=1).tolist()


def test_a_policy_that_is_certain_acts_without_a_warning() -> None:
    policy = some_policy()
    for sign, action in ((1, 0), (-1, 1)):
        policy.net[-1].bias.data[:] = torch.tensor([sign * 300.0, 0.0])
        states, u = np.zeros((2, 4), np.float32), np.array([1e-9, 1 - 1e-16])
        assert policy.actor()(states, u).tolist() == [action, action]


def test_a_new_policy_tosses_a_nearly_fair_coin() -> None:
    """|z| < 4 for the share of action 1 among 20,000; false-alarm rate 6e-5."""
    rng = np.random.default_rng(0)

    def z(policy: SoftmaxPolicy) -> float:
        x = rng.normal(size=(20_000, 4)).astype(np.float32)
        return float((policy.actor()(x, rng.random(20_000)).mean() - 0.5) * 2 * np.sqrt(20_000))

    assert abs(z(SoftmaxPolicy(network((4, 32, 2), rng)))) < 4
    biased = SoftmaxPolicy(network((4, 32, 2), rng))
    biased.net[-1].bias.data[:] = torch.tensor([0.0, 0.2])
    assert abs(z(biased)) > 4


# --- the loop ----------------------------------------------------------------------------------


def test_the_loop_runs_weighs_and_updates_in_this_order_and_only_when_asked() -> None:
    told: list[str] = []

    def run(policy: Any) -> Any:
        told.append(f"run {policy}")
        return f"played by {policy}"

    def weigh(trajectories: Any) -> Any:
        told.append(f"weigh {trajectories}")
        return "weights"

    def update(policy: Any, trajectories: Any, weights: Any) -> Any:
        told.append(f"update {policy}, {trajectories}, {weights}")
        return policy + 1

    training = train(0, run, weigh, update)  # type: ignore[type-var]
    assert told == []
    assert next(training) == (0, "played by 0")  # type: ignore[comparison-overlap]
    assert told == ["run 0"]
    assert next(training) == (1, "played by 1")  # type: ignore[comparison-overlap]
    assert told[1:] == ["weigh played by 0", "update 0, played by 0, weights", "run 1"]


def test_an_update_makes_what_paid_likelier() -> None:
    policy = SoftmaxPolicy(network((2, 2), np.random.default_rng(0)))
    states = np.ones((1, 2, 2), np.float32)
    flags = np.zeros((1, 2), bool)
    actions, rewards = np.array([[0, 1]]), np.array([[1.0, 3.0]])
    played = Trajectories(states, actions, rewards, states, ~flags, flags, ~flags)

    def chance() -> float:
        return torch.softmax(policy.net(torch.tensor(states[0])), 1)[0, 1].item()

    before = chance()
    moved = Descent(policy, 0.1)(policy, played, full_return(played))
    assert moved is policy
    after = chance()
    assert after > before
    Descent(policy, 0.1)(policy, played, -full_return(played))  # the control: other signs
    assert chance() < after


def test_equal_seeds_learn_equally_and_others_do_not() -> None:
    def curve(seed: int) -> list[float]:
        rng = np.random.default_rng(seed)
        policy = SoftmaxPolicy(network((4, 16, 2), rng))
        training = train(policy, some_run(20, seed), full_return, Descent(policy, 0.02))
        return [float(returns(b, 1.0).mean()) for _, b in islice(training, 6)]

    assert curve(0) == curve(0)
    assert curve(0) != curve(1)


# --- following it to the end -------------------------------------------------------------------


def batch_of(value: float) -> Trajectories:
    flags, states = np.zeros((1, 2), bool), np.zeros((1, 2, 4))
    rewards = np.full((1, 2), value)
    return Trajectories(states, flags, rewards, states, ~flags, flags, ~flags)


def follow(values: list[float], fresh: list[float], most: int = 9) -> Any:
    """Outcome of a training whose batches return `values`, and fresh episodes `fresh`."""
    training = ((i, batch_of(x)) for i, x in enumerate(values))
    again = iter(fresh)
    shown = io.StringIO()
    outcome = experiments.solve(training, lambda _: batch_of(next(again)), 475, most, shown)
    assert "mean return" in shown.getvalue()
    return outcome


def test_a_lucky_batch_is_not_enough() -> None:
    outcome = follow([20, 480, 400, 490, 495], fresh=[470, 481])
    assert (outcome.policy, outcome.confirmed) == (3, 481)
    assert outcome.curve.tolist() == [20, 480, 400, 490]


def test_giving_up_is_told() -> None:
    outcome = follow([20, 30, 40, 50], fresh=[], most=3)
    assert (outcome.policy, outcome.confirmed, outcome.interrupted) == (2, None, False)


def test_an_interrupt_keeps_what_was_learned() -> None:
    def batches() -> Iterator[tuple[int, Trajectories]]:
        yield 0, batch_of(20)
        yield 1, batch_of(30)
        raise KeyboardInterrupt

    outcome: Any = experiments.solve(batches(), batch_of, 475, 9, io.StringIO())  # type: ignore[type-var, arg-type]
    assert (outcome.policy, outcome.interrupted) == (1, True)
    assert outcome.curve.tolist() == [20, 30]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Nothing-v0", "environment must be one of Gymnasium's, got 'Nothing-v0'"),
        ("Pendulum-v1", "continuous actions come in chapter 10"),
        ("FrozenLake-v1", "environment must show a row of numbers"),
    ],
)
def test_an_environment_that_cannot_be_learned_is_refused(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        experiments.task(name)


# --- files -------------------------------------------------------------------------------------


def test_a_saved_policy_comes_back_as_it_was(tmp_path: Path) -> None:
    policy, path = some_policy((6, 5, 7, 3)), tmp_path / "no suffix"
    experiments.save(policy, path)
    again = experiments.load(path)
    for a, b in zip(policy.net.parameters(), again.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


class Trap:
    def __reduce__(self) -> Any:
        return os.abort, ()


def bad_files() -> dict[str, bytes]:
    """What is no policy: a program, a damaged file, another file, other shapes, no numbers."""
    state = {k: p.numpy() for k, p in some_policy().net.state_dict().items()}

    def npz(**arrays: Any) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    alone = io.BytesIO()
    np.save(alone, np.ones(3))
    first = next(iter(state))
    whole = npz(**state)
    return {
        "pickle": npz(**(state | {first: np.array([Trap()], dtype=object)})),
        "damaged": whole[: len(whole) // 2],
        "flipped": whole[:200] + bytes(64) + whole[264:],
        "text": b"weights: none",
        "empty": b"",
        "array": alone.getvalue(),
        "nothing": npz(),
        "missing": npz(**{k: x for k, x in state.items() if k != first}),
        "shape": npz(**(state | {first: np.ones((3, 3), np.float32)})),
        "scalar": npz(**(state | {first: np.float32(1)})),
        "words": npz(**(state | {first: np.array(["a"])})),
        "nan": npz(**(state | {first: state[first] * np.nan})),
    }


@pytest.mark.parametrize("kind", bad_files())
def test_a_file_that_is_no_policy_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.npz"
    path.write_bytes(bad_files()[kind])
    with pytest.raises(ValueError, match=r"policy\.npz must (be a policy|hold finite weights)"):
        experiments.load(path)


def test_a_file_that_is_not_there_is_another_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        experiments.load(tmp_path / "none.npz")


# --- the command -------------------------------------------------------------------------------


def test_the_command_trains_saves_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small batch and an easy goal: that the whole learns is shown on the page."""
    monkeypatch.setattr(experiments, "LANES", 10)
    monkeypatch.setattr(experiments, "task", lambda name: experiments.Task(name, 4, 2, 500, 25.0))
    files = [tmp_path / "policy.npz", tmp_path / "curve.svg"]
    options = ["--seed", "3", "--save", str(files[0]), "--plot", str(files[1])]
    assert cli.main(["train", "CartPole-v1", *options]) == 0
    told = capsys.readouterr()
    assert "confirmed on 100 fresh ones" in told.out
    assert "mean return" in told.err
    assert experiments.load(files[0]).net[0].in_features == 4
    assert files[1].read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["Nothing-v0"], "environment must be one of Gymnasium's"),
        (["Pendulum-v1"], "continuous actions come in chapter 10"),
        (["CartPole-v1", "--seed", "-1"], "--seed must be a whole number >= 0, got -1"),
        (["CartPole-v1", "--save", "/no/such/folder/x.npz"], "/no/such/folder/x.npz"),
        (["CartPole-v1", "--plot", "curve.xyz"], "--plot must end in .svg, .png or .pdf"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", *arguments]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


def test_a_seed_that_is_no_number_is_refused() -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "CartPole-v1", "--seed", "x"])
    assert stop.value.code == 2


def test_an_interrupted_command_says_what_was_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> experiments.Outcome:
        return experiments.Outcome(some_policy(), np.array([20.0, 30.0]), None, True)

    monkeypatch.setattr(experiments, "reinforce", interrupted)
    path = tmp_path / "policy.npz"
    assert cli.main(["train", "CartPole-v1", "--save", str(path)]) == 130
    assert f"interrupted\nweights saved: {path}" in capsys.readouterr().out
    assert experiments.load(path).net[0].in_features == 4
    assert cli.main(["train", "CartPole-v1"]) == 130
    assert "nothing was saved" in capsys.readouterr().out


# --- beside others -----------------------------------------------------------------------------


def test_the_drivers_of_the_benchmark_store_the_same() -> None:
    from benchmarks import rollout as bench

    makers = [bench.ours, bench.gymnasium_sync]
    drivers = dict(zip(("ours", "sync"), [make(3) for make in makers], strict=True))
    bench.check(drivers, np.random.default_rng(0).random((60, 3)))
    native = bench.gymnasium_native(3)(np.random.default_rng(0).random((60, 3)))
    assert bench.faults(native) == []
    wrong = native._replace(values=native.values + 1e-3)
    assert bench.faults(wrong) == ["values"]


def test_the_benchmark_says_how_to_install_its_peer() -> None:
    code = "import sys; sys.modules['stable_baselines3'] = None\n"
    code += "from benchmarks.rollout import main; sys.exit(main())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout.endswith("pip install '.[bench]'\n")
    assert done.stdout.count("\n") == 1


def test_the_published_curve_is_what_its_script_computes() -> None:
    """The first ten episodes of one step size again; the end of the curve near the optimum."""
    folder = ROOT / "book/reproductions"
    stored = np.loadtxt(folder / "sutton_barto_13_1.csv", delimiter=",")
    script = runpy.run_path(str(folder / "sutton_barto_13_1.py"))
    learn: Callable[..., Any] = script["learn"]
    learn.__globals__["EPISODES"] = 10
    assert learn(2.0**-13, np.random.default_rng(13)).mean() == pytest.approx(
        stored[0, 1], abs=1e-4
    )
    best = aliased_return(2 - np.sqrt(2))
    assert abs(stored[-10:, 1].mean() - best) < 1.0
    assert abs(stored[-10:, 2].mean() - best) > 1.0  # the control: a smaller step is not there yet


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: reinforce_loss(torch.zeros(3, 2), torch.zeros(3, 2)),  # type: ignore[arg-type]
            "weights must be a NumPy array, got Tensor",
        ),
        (
            lambda: reinforce_loss(torch.zeros(3, 2), np.zeros(2)),
            r"weights must have the shape of log_probs = \(3, 2\), got \(2,\)",
        ),
        (
            lambda: full_return(
                Trajectories(*[np.zeros((2, 1))] * 4, *[np.ones((2, 1), bool)] * 3)
            ),
            "one episode a lane, got 2",
        ),
    ],
)
def test_bad_arguments_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
