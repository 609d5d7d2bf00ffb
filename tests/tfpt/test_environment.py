"""The report of the environment."""

import platform
import sys

from tfpt import environment


def test_the_report_names_what_a_bug_report_needs():
    lines = environment.report({}).splitlines()
    assert f"Python {platform.python_version()} ({sys.executable})" in lines
    assert any(line.startswith("tensorflow 2.") for line in lines)
    assert any(line.startswith("CPU /physical_device:CPU:") for line in lines)
    assert any(" cores, " in line for line in lines)
    assert all(line == line.strip() for line in lines)


def test_variables_that_matter_are_named_without_secrets():
    variables = {
        "TF_XLA_FLAGS": "--tf_xla_auto_jit=2",
        "CUDA_VISIBLE_DEVICES": "0",
        "TFDS_TOKEN": "hidden",
        "TF_PASSWORD": "hidden",
        "HOME": "/somewhere",
    }
    report = environment.report(variables)
    assert report.endswith("CUDA_VISIBLE_DEVICES=0\nTF_XLA_FLAGS=--tf_xla_auto_jit=2")
    assert "hidden" not in report
    assert "/somewhere" not in report


def test_what_is_not_installed_is_said_so(monkeypatch):
    monkeypatch.setattr(environment, "_PACKAGES", ("no-such-package",))
    assert "no-such-package is not installed" in environment.report({}).splitlines()
