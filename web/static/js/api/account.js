/** The calls about accounts: sign-in, the password, the logins. */

import { call } from "./client.js";

/**
 * @typedef {{user_id: string, email: string | null}} User
 * @typedef {{id: string, created_at: string, last_used_at: string, expires_at: string, current: boolean}} Login
 */

/** @param {string} email @param {string} password @returns {Promise<User>} */
export const register = async (email, password) => (await call("POST", "/auth/register", { body: { email, password } })).data;

/** @param {string} email @param {string} password @returns {Promise<User>} */
export const signIn = async (email, password) => (await call("POST", "/auth/login", { body: { email, password } })).data;

export const signOut = () => call("POST", "/auth/logout", { body: {} });

/** @returns {Promise<User>} */
export const whoAmI = async () => (await call("GET", "/auth/me")).data;

/** @param {string} current @param {string} chosen @param {boolean} endOthers */
export const changePassword = (current, chosen, endOthers) =>
  call("POST", "/auth/password", {
    body: { current_password: current, new_password: chosen, end_other_logins: endOthers },
  });

/** @returns {Promise<Login[]>} */
export const logins = async () => (await call("GET", "/auth/logins")).data.logins;

/** @param {string} id */
export const endLogin = (id) => call("DELETE", `/auth/logins/${id}`);

/** An account that signs in elsewhere has no password to give. @param {string} password */
export const deleteAccount = (password) => call("DELETE", "/auth/me", { body: password ? { password } : {} });
