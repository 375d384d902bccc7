"""Curves through measured seconds, and what plans ask of them."""

import numpy as np
import pytest

from wbsr_models.inference.curve import Curve


def test_lines_join_the_points_and_go_on():
    curve = Curve(((100.0, 2.0), (200.0, 3.0), (400.0, 7.0)))
    assert curve(np.array([100, 150, 200, 300, 400, 600])).tolist() == [2, 2.5, 3, 5, 7, 11]
    assert curve(np.array([0, 50])).tolist() == [1, 1.5]
    assert curve.per_call == 1
    assert curve.per_pixel == pytest.approx(6 / 400)


def test_a_line_is_what_it_is_made_of():
    curve = Curve.line(3.0, 0.5)
    assert (curve.per_call, curve.per_pixel) == (3.0, 0.5)
    assert float(curve(100)) == 53
    assert float(curve.times(2)(100)) == 106


def test_one_point_is_in_proportion():
    curve = Curve(((100.0, 2.0),))
    assert curve(np.array([50, 100, 300])).tolist() == [1, 2, 6]
    assert (curve.per_call, curve.per_pixel) == (0, 0.02)


def test_noise_makes_no_call_free():
    falling = Curve(((100.0, 3.0), (200.0, 2.0)))
    assert falling.per_pixel > 0
    assert float(falling(1000)) > 2
    steep = Curve(((100.0, 1.0), (110.0, 3.0)))
    assert steep.per_call == 0
    assert (steep(np.arange(200)) >= 0).all()


@pytest.mark.parametrize("points", [(), ((2.0, 1.0), (1.0, 2.0)), ((1.0, 1.0), (1.0, 2.0))])
def test_points_that_are_no_curve_are_refused(points):
    with pytest.raises(ValueError, match="a curve needs points of increasing pixels"):
        Curve(points)
