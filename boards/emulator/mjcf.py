"""The MuJoCo model of the world: a handheld with its head and grip, a room, and slots for things.

Bodies that scenes move are mocap bodies; geoms that a scene does not use are put into a group that is not drawn. Nothing
touches anything and nothing falls: contacts and gravity are off, so the grip's force sensor reads the applied force alone.
"""

from __future__ import annotations

import math
from string import Template

import numpy as np

from innervate.boards.emulator.scene import CLUTTER, CONE_SCALES, FOV_DEG, PAPERS, SLOTS

_ROOM = (  # name, position, zaxis: planes face inwards
    ("floor", "0 0 -2.8", "0 0 1"),
    ("ceiling", "0 0 3.0", "0 0 -1"),
    ("ahead", "5 0 0", "-1 0 0"),
    ("behind", "-5 0 0", "1 0 0"),
    ("left", "0 5 0", "0 -1 0"),
    ("right", "0 -5 0", "0 1 0"),
)

_PLAIN = 'contype="0" conaffinity="0"'

_MODEL = Template("""<mujoco model="innervate handheld">
  <compiler angle="degree" autolimits="true"/>
  <option timestep="0.002" gravity="0 0 0" integrator="Euler"><flag contact="disable"/></option>
  <visual>
    <global offwidth="$size" offheight="$size"/>
    <quality offsamples="0" shadowsize="0" numslices="20" numstacks="12" numquads="8"/>
    <map znear="0.01" zfar="30" haze="0"/>
    <headlight ambient="0.4 0.4 0.4" diffuse="0.3 0.3 0.3" specular="0 0 0"/>
  </visual>
  <statistic extent="5" center="0 0 0"/>
  <asset>
    $meshes
    $papers
    <material name="furniture" specular="0.05" shininess="0.1"/>
    <material name="object" specular="0.12" shininess="0.3"/>
  </asset>
  <worldbody>
    <light name="sun" type="directional" pos="0 0 3" dir="0 0 -1" castshadow="false" specular="0.2 0.2 0.2"/>
    $room
    <body name="handheld">
      <geom type="box" pos="-0.03 0 -0.12" size="0.02 0.04 0.09" rgba="0.2 0.2 0.22 1" group="3"/>
      <body name="grip" pos="-0.06 0 -0.12">
        <geom type="box" size="0.008 0.03 0.05" rgba="0.4 0.4 0.42 1" group="3" contype="0" conaffinity="0"/>
        <site name="grip" pos="0 0 0"/>
      </body>
      <body name="pan">
        <inertial pos="0 0 0" mass="0.05" diaginertia="2e-5 2e-5 2e-5"/>
        <joint name="pan" type="hinge" axis="0 0 1" armature="1e-3" damping="0"/>
        <body name="tilt">
          <inertial pos="0 0 0" mass="0.05" diaginertia="2e-5 2e-5 2e-5"/>
          <joint name="tilt" type="hinge" axis="0 -1 0" armature="1e-3" damping="0"/>
          <geom type="sphere" size="0.015" rgba="0.1 0.1 0.1 1" group="3" contype="0" conaffinity="0"/>
          <camera name="eye" pos="0 0 0" xyaxes="0 -1 0 0 0 1" fovy="$fov"/>
        </body>
      </body>
    </body>
    $clutter
    $slots
  </worldbody>
  <actuator>
    <motor name="pan" joint="pan"/>
    <motor name="tilt" joint="tilt"/>
  </actuator>
  <sensor>
    <force name="grip" site="grip"/>
    <jointpos name="pan" joint="pan"/><jointpos name="tilt" joint="tilt"/>
    <jointvel name="pan_rate" joint="pan"/><jointvel name="tilt_rate" joint="tilt"/>
  </sensor>
</mujoco>""")


def _cone_mesh(scale: float) -> str:
    """Vertices of a cone around its centre of mass, so that MuJoCo's own recentring moves nothing."""
    radius, height, sides = 0.068 * scale, 0.150 * scale, 28
    ring = [(radius * math.cos(a), radius * math.sin(a)) for a in np.linspace(0, 2 * math.pi, sides, endpoint=False)]
    points = [(x, y, -height / 4) for x, y in ring] + [(0.0, 0.0, 0.75 * height)]
    return " ".join(f"{c:.6f}" for p in points for c in p)


def _slot(i: int) -> str:
    """A body that can be any shape: one geom a shape, all hidden until a scene shows one."""
    hidden = f'{_PLAIN} group="5" material="object"'
    return (
        f'<body mocap="true" name="slot{i}">'
        f'<geom name="slot{i}_cube" type="box" size="0.05 0.05 0.05" {hidden}/>'
        f'<geom name="slot{i}_ball" type="sphere" size="0.06" {hidden}/>'
        f'<geom name="slot{i}_cylinder" type="cylinder" size="0.045 0.07" {hidden}/>'
        f'<geom name="slot{i}_cone" type="mesh" mesh="cone2" {hidden}/></body>'
    )


def build_mjcf(size: int) -> str:
    """The MJCF of the whole world for frames of `size` x `size` pixels."""
    room = (
        f'<geom name="room_{name}" type="plane" pos="{pos}" size="5 5 0.1" zaxis="{axis}" material="paper0" {_PLAIN}/>'
        for name, pos, axis in _ROOM
    )
    clutter = (
        f'<body mocap="true" name="clutter{i}"><geom type="{("box", "cylinder", "box", "ellipsoid")[i % 4]}" '
        f'name="clutter{i}" size="0.3 0.3 0.3" material="furniture" {_PLAIN}/></body>'
        for i in range(CLUTTER)
    )
    meshes = (f'<mesh name="cone{k}" vertex="{_cone_mesh(s)}" inertia="convex"/>' for k, s in enumerate(CONE_SCALES))
    papers = (
        f'<texture name="paper{k}" type="2d" builtin="flat" rgb1="0.5 0.5 0.5" width="32" height="32"/>'
        f'<material name="paper{k}" texture="paper{k}" specular="0" shininess="0" reflectance="0"/>'
        for k in range(PAPERS)
    )
    return _MODEL.substitute(
        size=size,
        fov=FOV_DEG,
        room="".join(room),
        clutter="".join(clutter),
        meshes="".join(meshes),
        papers="".join(papers),
        slots="".join(_slot(i) for i in range(SLOTS)),
    )
