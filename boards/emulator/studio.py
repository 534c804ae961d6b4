"""Frames of many scenes from one compiled model: pose, paint and light are set per scene, nothing is recompiled.

A `Studio` owns a MuJoCo model, its data and one off-screen renderer. Textures are uploaded once; everything that changes
is numbers in the model that the renderer reads at each frame. Frames depend only on the arguments of `arrange` and `look`,
never on what was rendered before. With EGL a studio belongs to the thread that took its first frame; with OSMesa any
thread may take one.
"""

from __future__ import annotations

import ctypes.util
import math
import os
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from innervate.boards.emulator.mjcf import build_mjcf
from innervate.boards.emulator.scene import (
    CLUTTER,
    CONE_SCALES,
    PAPERS,
    SHAPES,
    SLOTS,
    Dressing,
    SceneObject,
    direction,
    dress,
    wallpaper,
)
from innervate.runtime.ali.errors import DeviceError, ScenarioError

if TYPE_CHECKING:
    import mujoco

_HIDDEN, _SHOWN = 5, 0  # geom groups: the renderer draws 0..2


_MEND = "sudo apt-get install libosmesa6, or where there is none: libegl1 libgl1-mesa-dri"


def choose_gl() -> str:
    """Set MUJOCO_GL if the owner has not, and return the choice: OSMesa where it is installed, else EGL.

    OSMesa comes first because it needs no device, no driver and no permission, and gives the same bytes on every
    machine; MUJOCO_GL=egl is for the owner of a fast GPU. Must run before mujoco is first imported. Raises DeviceError
    when the machine has no off-screen OpenGL at all.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if chosen:
        return chosen
    for library, name in (("OSMesa", "osmesa"), ("EGL", "egl")):
        if ctypes.util.find_library(library) is not None:
            os.environ["MUJOCO_GL"] = name
            return name
    raise DeviceError("emulator", "no off-screen OpenGL on this machine", "libOSMesa or libEGL", _MEND)


def load_mujoco() -> Any:
    """Import mujoco with a renderer chosen; raises DeviceError with the command that mends a missing one."""
    choice = choose_gl()
    try:
        import mujoco
    except ModuleNotFoundError as cause:
        step = "pip install 'innervate[emulator]'"
        raise DeviceError("emulator", f"no module {cause.name}", "the extra [emulator]", step) from cause
    except Exception as cause:  # mujoco loads OpenGL as it is imported, and each binding fails in its own way
        came = f"mujoco cannot start its renderer {choice!r} ({cause})"
        raise DeviceError("emulator", came, "MUJOCO_GL=osmesa or egl, with its library", _MEND) from cause
    return mujoco


def _yaw(deg: float) -> tuple[float, float, float, float]:
    half = math.radians(deg) / 2.0
    return (math.cos(half), 0.0, 0.0, math.sin(half))


def _free_renderer(gl: Any, context: Any) -> None:
    gl.make_current()
    context.free()
    gl.free()


class Studio:
    """Renders any scene of up to 12 objects to uint8 [size, size, 3] RGB frames, field of view 60 degrees."""

    def __init__(self, size: int = 96) -> None:
        self.mj = load_mujoco()
        self.size = size
        self.model: mujoco.MjModel = self.mj.MjModel.from_xml_string(build_mjcf(size))
        self.data: mujoco.MjData = self.mj.MjData(self.model)
        self._objects: tuple[SceneObject, ...] = ()
        self._dressing: Dressing = dress((), 0)
        self._posed_t_s: float | None = None
        self._look_up_ids()
        self._option = self.mj.MjvOption()
        self._option.geomgroup[:] = [1, 1, 1, 0, 0, 0]
        self._scene = self.mj.MjvScene(self.model, maxgeom=6 + CLUTTER + SLOTS + 8)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "FOG", "HAZE"):
            self._scene.flags[getattr(self.mj.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._camera = self.mj.MjvCamera()
        self._camera.type = self.mj.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = self.model.camera("eye").id
        self._rect = self.mj.MjrRect(0, 0, size, size)
        self._gl: Any = None
        self._context: Any = None
        self._free: weakref.finalize[..., Studio] | None = None
        self.arrange((), 0)

    def _look_up_ids(self) -> None:
        model = self.model
        self._slot_geoms = [[model.geom(f"slot{i}_{s}").id for s in SHAPES] for i in range(SLOTS)]
        self._slot_mocap = [int(model.body(f"slot{i}").mocapid[0]) for i in range(SLOTS)]
        self._clutter_geom = [model.geom(f"clutter{i}").id for i in range(CLUTTER)]
        self._clutter_mocap = [int(model.body(f"clutter{i}").mocapid[0]) for i in range(CLUTTER)]
        self._room_geom = [
            model.geom(f"room_{n}").id for n in ("floor", "ceiling", "ahead", "behind", "left", "right")
        ]
        self._cone_mesh = [model.mesh(f"cone{k}").id for k in range(len(CONE_SCALES))]
        self._joints = [int(model.joint(n).qposadr[0]) for n in ("pan", "tilt")]
        self._paper_material = [model.material(f"paper{k}").id for k in range(PAPERS)]
        for k in range(PAPERS):
            start, image = int(model.tex_adr[model.texture(f"paper{k}").id]), wallpaper(k)
            model.tex_data[start : start + image.size] = image.reshape(-1)

    # -- scenes ---------------------------------------------------------------------------------------------------

    def arrange(self, objects: Sequence[SceneObject], seed: int) -> None:
        """Set a new scene: its objects, and everything else by `seed`. Raises ScenarioError for more than 12."""
        if len(objects) > SLOTS:
            raise ScenarioError(
                who="emulator",
                came=f"{len(objects)} objects in one scene",
                expected=f"at most {SLOTS}",
                next_step="remove some [[object]] tables",
            )
        self._objects = tuple(objects)
        self._dressing = dress(self._objects, seed)
        for i in range(SLOTS):
            for geom in self._slot_geoms[i]:
                self.model.geom_group[geom] = _HIDDEN
            if i < len(self._objects):
                self._fit(i)
        self._furnish()
        self._posed_t_s = None

    def _fit(self, i: int) -> None:
        """Give slot `i` the shape, size and paint of object `i`."""
        model, scale = self.model, float(self._dressing.scale[i])
        shape = self._objects[i].shape
        geom = self._slot_geoms[i][SHAPES.index(shape)]
        model.geom_group[geom] = _SHOWN
        model.geom_rgba[geom] = (*self._dressing.rgb[i], 1.0)
        if shape == "cube":
            model.geom_size[geom] = 0.051 * scale
        elif shape == "ball":
            model.geom_size[geom, 0] = 0.062 * scale
        elif shape == "cylinder":  # clearly taller than wide, which a cube never is
            model.geom_size[geom, :2] = (0.041 * scale, 0.076 * scale)
        else:
            nearest = int(np.argmin(np.abs(np.array(CONE_SCALES) - scale)))
            model.geom_dataid[geom] = self._cone_mesh[nearest]

    def _furnish(self) -> None:
        model, data, d = self.model, self.data, self._dressing
        for k, geom in enumerate(self._room_geom):
            model.geom_rgba[geom, :3] = d.room_rgb[k]
            model.geom_matid[geom] = self._paper_material[int(d.wallpaper[k])]
        for k, (geom, mocap) in enumerate(zip(self._clutter_geom, self._clutter_mocap, strict=True)):
            model.geom_size[geom] = d.clutter_size[k]
            model.geom_rgba[geom, :3] = d.clutter_rgb[k]
            data.mocap_pos[mocap] = d.clutter_pos[k]
            data.mocap_quat[mocap] = _yaw(float(d.clutter_yaw_deg[k]))
        for k, material in enumerate(self._paper_material):
            model.mat_texrepeat[material] = d.paper_repeat[k]

    def pose_objects(self, t_s: float) -> None:
        """Put objects and light where they are at `t_s`."""
        if t_s == self._posed_t_s:
            return
        for i, item in enumerate(self._objects):
            pan = item.pan_at(t_s)
            self.data.mocap_pos[self._slot_mocap[i]] = item.distance_m * direction(pan, item.tilt_deg)
            self.data.mocap_quat[self._slot_mocap[i]] = _yaw(pan + float(self._dressing.yaw_deg[i]))
        light = self._dressing.light(t_s)
        self.model.light_ambient[0] = 0.0
        self.model.light_diffuse[0] = light.sun
        self.model.light_dir[0] = light.sun_dir
        self.model.vis.headlight.ambient[:] = light.ambient
        self.model.vis.headlight.diffuse[:] = light.head
        self._posed_t_s = t_s

    # -- frames ---------------------------------------------------------------------------------------------------

    def look(self, pan_deg: float, tilt_deg: float, t_s: float = 0.0) -> NDArray[np.uint8]:
        """What the camera sees at `t_s` with the head turned there: a fresh uint8 [size, size, 3] RGB."""
        self.data.qpos[self._joints[0]] = math.radians(pan_deg)
        self.data.qpos[self._joints[1]] = math.radians(tilt_deg)
        return self.shoot(t_s)

    def shoot(self, t_s: float) -> NDArray[np.uint8]:
        """What the camera sees at `t_s` with the head where the model's data has it."""
        mj = self.mj
        self.pose_objects(t_s)
        mj.mj_kinematics(self.model, self.data)
        mj.mj_comPos(self.model, self.data)
        mj.mj_camlight(self.model, self.data)
        self._light_up()
        mj.mjv_updateScene(
            self.model, self.data, self._option, None, self._camera, mj.mjtCatBit.mjCAT_ALL, self._scene
        )
        frame: NDArray[np.uint8] = np.empty((self.size, self.size, 3), np.uint8)
        mj.mjr_render(self._rect, self._scene, self._context)
        mj.mjr_readPixels(frame, None, self._rect, self._context)
        return frame[::-1].copy()  # OpenGL counts rows from the bottom

    def _light_up(self) -> None:
        """Make the OpenGL context at the first frame; later, make it the current one."""
        if self._context is not None:
            self._gl.make_current()
            return
        mj = self.mj
        try:
            self._gl = mj.GLContext(self.size, self.size)
            self._gl.make_current()
            self._context = mj.MjrContext(self.model, mj.mjtFontScale.mjFONTSCALE_100)
        except Exception as cause:  # EGL and OSMesa bindings have error classes of their own
            came = f"no picture can be rendered with MUJOCO_GL={os.environ.get('MUJOCO_GL')} ({cause})"
            raise DeviceError("emulator", came, "a renderer that works without a screen", _MEND) from cause
        mj.mjr_setBuffer(mj.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        # runs at interpreter exit at the latest, before modules are torn down
        self._free = weakref.finalize(self, _free_renderer, self._gl, self._context)

    def close(self) -> None:
        """Free the renderer; safe to call twice. Left to the interpreter's shutdown it would print errors."""
        if self._free is not None:
            self._free()
        self._context = self._gl = self._free = None

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
