"""How a slider is to be used, read off its file."""

from pairedit.plan.recipe import recipe_of


def test_a_recipe_says_no_more_than_the_file():
    nothing = recipe_of({})
    assert (nothing.scale, nothing.skip, nothing.level, nothing.prompt) == (None,) * 4
    odd = {"calibration": {"scale": True, "skip": "x"}, "config": 3, "use": [1]}
    assert recipe_of(odd) == nothing
    model = {"skip": 0.75}
    level = recipe_of({"config": {"model": model, "num_inference_steps": 50}})
    assert (level.skip, level.level, level.steps) == (0.75, 0.75, 50)
    known = {"scale": 0.5, "skip": 19, "sigma": 0.43, "num_inference_steps": 28}
    one = recipe_of({"calibration": known})
    assert (one.skip, one.level) == (19, 0.43)
    # A trial that found another place counts; one that found the same leaves the step's name.
    assert recipe_of({"calibration": known, "use": {"skip": 0.6}}).skip == 0.6
    assert recipe_of({"calibration": known, "use": {"skip": 0.431}}).skip == 19
